// Package healthcheck looks at systems at regular intervals, remembers how they are, and records every run.
//
// A configuration says what to look at, how, and how often. An assignment has a configuration checked for one system of
// the catalog, by the servers that share the database, by satellites, or by both. For the servers each assignment is a row
// with a timetable; they claim the rows that are due, so that each slot is run once, by whichever comes first. What a run
// finds travels in a batch: one transaction keeps the runs, moves the states and gives the rows back. What satellites find
// comes through [Healthcheck.RecordFrom].
//
//	scheduler ── claims ──► registry ── runs the type ──► recorder ── commits ──► history, states
//	                           ▲                              ▲
//	a run by hand ─────────────┴──────────────────────────────┘
//
// The hard case is a server that dies between claim and commit. Nothing says then whether the check was made, so the claim
// is a lease: when it runs out the slot is due again. A run may so be made twice, but it is never counted twice, and no
// slot of a monthly check is lost because a server was restarted at the wrong moment.
package healthcheck

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"checkstack/plugins"
	"checkstack/plugins/catalog"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Healthcheck is the plugin.
type Healthcheck struct {
	host      *plugins.Host
	catalog   *catalog.Catalog
	types     *registry
	recorder  *recorder
	scheduler *scheduler
	byHand    chan struct{} // one element for each run by hand that is under way
}

// New builds the plugin.
func New(host *plugins.Host, cat *catalog.Catalog) *Healthcheck {
	types := &registry{log: host.Log}
	rec := &recorder{db: host.DB, history: host.History, log: host.Log, filled: make(chan struct{}, 1)}
	return &Healthcheck{
		host:      host,
		catalog:   cat,
		types:     types,
		recorder:  rec,
		scheduler: &scheduler{db: host.DB, log: host.Log, types: types, recorder: rec, idle: maxIdle, woken: make(chan struct{}, 1)},
		byHand:    make(chan struct{}, maxByHand),
	}
}

// Plugin describes the plugin to the server.
func (h *Healthcheck) Plugin() plugins.Instance {
	files, _ := fs.Sub(migrations, "migrations") // fails for a malformed name only
	return plugins.Instance{Migrations: files, Init: h.init, AfterPluginsReady: h.afterPluginsReady, Close: h.close}
}

func (h *Healthcheck) init(context.Context) error {
	for _, t := range builtIn() {
		if err := h.RegisterCheckType(h.host, t); err != nil {
			return err
		}
	}
	forget := h.catalog.OnSystemDeleted(h.forgetSystem)
	h.host.OnClose(func(context.Context) error {
		forget()
		return nil
	})
	handle := h.host.Routes.Handle
	return errors.Join( // a config may hold headers with secrets, and a result what a system sent: neither is for everybody
		handle("POST /configurations", plugins.Editor, plugins.JSON(h.createConfiguration)),
		handle("GET /configurations", plugins.Viewer, plugins.JSON(h.listConfigurations)),
		handle("GET /configurations/{id}", plugins.Viewer, plugins.JSON(h.readConfiguration)),
		handle("PUT /configurations/{id}", plugins.Editor, plugins.JSON(h.updateConfiguration)),
		handle("DELETE /configurations/{id}", plugins.Editor, plugins.JSON(h.deleteConfiguration)),
		handle("POST /configurations/{id}/run", plugins.Editor, plugins.JSON(h.runByHand)),
		handle("GET /systems/{systemId}/checks", plugins.Viewer, plugins.JSON(h.listAssignments)),
		handle("PUT /systems/{systemId}/checks/{configurationId}", plugins.Editor, plugins.JSON(h.assign)),
		handle("DELETE /systems/{systemId}/checks/{configurationId}", plugins.Editor, plugins.JSON(h.unassign)),
		handle("GET /systems/{systemId}/checks/{configurationId}/retention", plugins.Viewer, plugins.JSON(h.readRetention)),
		handle("PUT /systems/{systemId}/checks/{configurationId}/retention", plugins.Editor, plugins.JSON(h.writeRetention)),
		handle("DELETE /systems/{systemId}/checks/{configurationId}/retention", plugins.Editor, plugins.JSON(h.resetRetention)),
		handle("GET /systems/{systemId}/status", plugins.Public, plugins.JSON(h.systemStatus)),
		handle("GET /systems/{systemId}/runs", plugins.Viewer, plugins.JSON(h.listRuns)),
		handle("GET /systems/{systemId}/series", plugins.Public, plugins.JSON(h.series)),
		handle("GET /availability", plugins.Public, plugins.JSON(h.availability)),
	)
}

func (h *Healthcheck) afterPluginsReady(ctx context.Context) error {
	if h.host.Demo {
		if err := h.demo(ctx); err != nil { // an example must not keep a server from starting
			h.host.Log.Warn("no example was made", "error", err)
		}
	}
	h.host.Readiness.Register(h.scheduler.probe())
	h.host.Listen(Changed, func(string) { h.scheduler.wake() })
	h.host.Go(h.scheduler.loop)
	h.host.Go(h.recorder.loop)
	return nil
}

// close stores what the last runs found. The loops have ended by now, and with them every run.
func (h *Healthcheck) close(ctx context.Context) error {
	if err := h.recorder.drain(ctx); err != nil {
		return fmt.Errorf("store the last results: %w", err)
	}
	return nil
}
