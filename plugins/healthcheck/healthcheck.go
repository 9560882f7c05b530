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
	"net/http"

	"checkstack/plugins"
	"checkstack/plugins/catalog"
	"checkstack/plugins/healthcheck/checks"
	"checkstack/plugins/healthcheck/engine"
	"checkstack/plugins/notification"
	"checkstack/plugins/signals"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Settings are what the operator says.
type Settings struct {
	Policy  engine.Policy
	Places  int // runs that begin at once
	PerHost int // of them, and of slow ones, against one target
}

// Flags declares the flags of the server that are this plugin's.
func Flags(f *plugins.Flags) *Settings {
	s := new(Settings)
	s.Policy.FlagsOfService(f)
	f.Number(&s.Places, "checks", 64, 1, 1000, "most checks that begin at once; those that wait for their target have more room")
	f.Number(&s.PerHost, "checks-per-host", 32, 1, 1000, "most checks at once against one host and port")
	return s
}

// Healthcheck is the plugin.
type Healthcheck struct {
	host      *plugins.Host
	catalog   *catalog.Catalog
	notify    *notification.Notifier
	types     *registry
	recorder  *recorder
	scheduler *scheduler
	watch     *watch
	byHand    chan struct{} // one element for each run by hand that is under way
	beats     chan struct{} // one element for each report of a heartbeat that is being stored
}

// New builds the plugin.
func New(host *plugins.Host, cat *catalog.Catalog, notify *notification.Notifier, events *signals.Signals) *Healthcheck {
	settings, ok := host.Settings.(*Settings)
	if !ok {
		settings = &Settings{Places: 64, PerHost: 32}
	}
	settings.Policy.Getenv = host.Getenv
	types := &registry{log: host.Log, policy: &settings.Policy, vault: &vault{host.Secrets}}
	settle := &settler{events, notify}
	rec := &recorder{db: host.DB, history: host.History, settler: settle, log: host.Log, filled: make(chan struct{}, 1)}
	return &Healthcheck{
		host:     host,
		catalog:  cat,
		notify:   notify,
		types:    types,
		recorder: rec,
		scheduler: &scheduler{db: host.DB, log: host.Log, types: types, recorder: rec, idle: maxIdle, woken: make(chan struct{}, 1),
			lanes: lanes{places: settings.Places, perHost: settings.PerHost}},
		watch:  &watch{db: host.DB, log: host.Log, settler: settle, woken: make(chan struct{}, 1), every: staleEvery},
		byHand: make(chan struct{}, maxByHand),
		beats:  make(chan struct{}, maxBeats),
	}
}

// Plugin describes the plugin to the server.
func (h *Healthcheck) Plugin() plugins.Instance {
	files, _ := fs.Sub(migrations, "migrations") // fails for a malformed name only
	return plugins.Instance{Migrations: files, Init: h.init, AfterPluginsReady: h.afterPluginsReady, Close: h.close}
}

func (h *Healthcheck) init(context.Context) error {
	for _, t := range append(checks.BuiltIn(h.types.policy), newHeartbeat()) {
		if err := h.RegisterCheckType(h.host, t); err != nil {
			return err
		}
	}
	forget, refresh := h.catalog.OnSystemDeleted(h.forgetSystem), h.catalog.OnSystemChanged(h.systemChanged)
	h.host.OnClose(func(context.Context) error {
		forget()
		refresh()
		return nil
	})
	handle := h.host.Routes.Handle
	const assignment = "/systems/{systemId}/checks/{configurationId}"
	return errors.Join( // a config may hold headers with secrets, and a result what a system sent: neither is for everybody
		handle("GET /types", plugins.Viewer, plugins.JSON(h.listTypes)),
		handle("POST /try", plugins.Editor, plugins.JSON(h.try)),
		handle("POST /configurations", plugins.Editor, plugins.JSON(h.createConfiguration)),
		handle("GET /configurations", plugins.Viewer, plugins.JSON(h.listConfigurations)),
		handle("GET /configurations/{id}", plugins.Viewer, plugins.JSON(h.readConfiguration)),
		handle("PUT /configurations/{id}", plugins.Editor, plugins.JSON(h.updateConfiguration)),
		handle("DELETE /configurations/{id}", plugins.Editor, plugins.JSON(h.deleteConfiguration)),
		handle("POST /configurations/{id}/run", plugins.Editor, plugins.JSON(h.runByHand)),
		handle("POST /configurations/{id}/assign", plugins.Editor, plugins.JSON(h.assignMany)),
		handle("GET /systems/{systemId}/checks", plugins.Viewer, plugins.JSON(h.listAssignments)),
		handle("PUT "+assignment, plugins.Editor, plugins.JSON(h.assign)),
		handle("DELETE "+assignment, plugins.Editor, plugins.JSON(h.unassign)),
		handle("POST "+assignment+"/heartbeat-token", plugins.Editor, plugins.JSON(h.rotateBeat)),
		handle("POST /heartbeats/{token}", plugins.Own, plugins.JSON(h.beat)),
		handle("GET /heartbeats/{token}", plugins.Own, plugins.JSON(h.beatByGET)),
		handle("GET "+assignment+"/retention", plugins.Viewer, plugins.JSON(h.readRetention)),
		handle("PUT "+assignment+"/retention", plugins.Editor, plugins.JSON(h.writeRetention)),
		handle("DELETE "+assignment+"/retention", plugins.Editor, plugins.JSON(h.resetRetention)),
		handle("GET /systems/{systemId}/status", plugins.Public, plugins.JSON(h.systemStatus)),
		handle("GET /groups/{groupId}/status", plugins.Public, plugins.JSON(h.groupStatus)),
		handle("GET /status", plugins.Public, plugins.JSON(h.statuses)),
		handle("GET /overview", plugins.Viewer, plugins.JSON(h.overview)),
		handle("GET /metrics", plugins.Viewer, http.HandlerFunc(h.metrics)),
		handle("GET /systems/{systemId}/transitions", plugins.Public, plugins.JSON(h.listTransitions)),
		handle("GET /systems/{systemId}/errors", plugins.Viewer, plugins.JSON(h.listErrors)),
		handle("GET /systems/{systemId}/runs", plugins.Viewer, plugins.JSON(h.listRuns)),
		handle("GET /systems/{systemId}/runs/{runId}", plugins.Viewer, plugins.JSON(h.readRun)),
		handle("GET /systems/{systemId}/series", plugins.Public, plugins.JSON(h.series)),
		handle("GET /availability", plugins.Public, plugins.JSON(h.availability)),
	)
}

// SystemSpec is what people can be told of a system.
var SystemSpec = notification.Spec{
	Type: "healthcheck.system", Target: catalog.SystemTarget, Name: "Health of a system",
	Description: "Checks of the system that fail, and that they work again",
}

// GroupSpec is what people can be told of a group.
var GroupSpec = notification.Spec{
	Type: "healthcheck.group", Target: catalog.GroupTarget, Name: "Health of a group",
	Description: "Checks of the systems of the group that fail, and that they work again", Covers: SystemSpec.Type,
}

func (h *Healthcheck) afterPluginsReady(ctx context.Context) error {
	if err := errors.Join(h.notify.RegisterSpec(ctx, h.host, SystemSpec), h.notify.RegisterSpec(ctx, h.host, GroupSpec)); err != nil {
		return err
	}
	lost, err := h.types.vault.reseal(ctx, h.host.DB)
	if err != nil {
		return err
	}
	if lost > 0 {
		h.host.Log.Error("the secrets of configurations cannot be opened, and their checks cannot be made; give the key they were sealed with, or the secrets again",
			"configurations", lost)
	}
	if h.host.Demo {
		if err := h.demo(ctx); err != nil { // an example must not keep a server from starting
			h.host.Log.Warn("no example was made", "error", err)
		}
	}
	h.host.Readiness.Register(h.scheduler.probe())
	h.host.Listen(Changed, func(string) {
		h.scheduler.wake()
		signal(h.watch.woken)
	})
	h.host.Go(h.scheduler.loop)
	h.host.Go(h.recorder.loop)
	h.host.Go(h.watch.loop)
	return nil
}

// close stores what the last runs found. The loops have ended by now, and with them every run.
func (h *Healthcheck) close(ctx context.Context) error {
	if err := h.recorder.drain(ctx); err != nil {
		return fmt.Errorf("store the last results: %w", err)
	}
	return nil
}
