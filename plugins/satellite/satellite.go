// Package satellite lets checks be made elsewhere: in another data centre, behind a firewall, on the other side of the
// world. A satellite is the same program, started as "checkstack satellite". It asks this server what it has to check,
// reports what it found, and says every 15 s that it is alive. It requires healthcheck, to which a satellite is a
// source of runs, and signals, which tell people when one is lost.
//
//	GET  /assignments  ── waits for a change ──►  poll, answered by the board, which reads for all polls together
//	POST /runs         ── gzip, limits ────────►  record: token, journal's number, history, states; one transaction
//	POST /heartbeat    ── clock, version ──────►  seen: online again
//	                                              watch: offline, when it was not heard of for too long
//
// The hard case is a satellite that was away for weeks and does not know what of its journal was recorded, because the
// answer was lost. Runs that old leave no row of their own that would tell a repeat. So the batches of a journal are
// numbered, and the highest number applied is kept, moved in the transaction that records. What is not above it is
// known:
//
//	batch 7:  begin, hold the satellite, 7 > 6, record, keep 7, commit ... the answer is lost
//	batch 7:  begin, hold the satellite, 7 = 7, nothing, commit, "known"
//
// Whoever holds the satellite's row has a valid token until the transaction ends, since what replaces or ends a token
// waits for that row too. So when the answer to rotating or deleting is there, nothing more is recorded for the old
// token.
package satellite

import (
	"context"
	"embed"
	"errors"
	"io/fs"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck"
	"checkstack/plugins/signals"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Satellites is the plugin's service.
type Satellites struct {
	host     *plugins.Host
	checks   *healthcheck.Healthcheck
	events   *signals.Signals
	board    *board
	arrivals *arrivals
	beats    beats
}

// New builds the plugin.
func New(host *plugins.Host, checks *healthcheck.Healthcheck, events *signals.Signals) *Satellites {
	p := &Satellites{host: host, checks: checks, events: events, arrivals: newArrivals(host.DB.Stats().MaxOpenConnections)}
	p.beats.of = make(map[string]int)
	p.board = newBoard(host.Log, p.readSheets)
	return p
}

// Plugin returns the plugin's hooks.
func (p *Satellites) Plugin() plugins.Instance {
	files, _ := fs.Sub(migrations, "migrations") // fails for a malformed name only
	return plugins.Instance{Migrations: files, Init: p.init, AfterPluginsReady: p.afterPluginsReady}
}

func (p *Satellites) init(context.Context) error {
	handle := p.host.Routes.Handle
	return errors.Join(
		handle("GET /satellites", plugins.Viewer, plugins.JSON(p.list)),
		handle("POST /satellites", plugins.Admin, plugins.JSON(p.register)),
		handle("GET /satellites/{id}", plugins.Viewer, plugins.JSON(p.find)),
		handle("PUT /satellites/{id}", plugins.Admin, plugins.JSON(p.replace)),
		handle("PATCH /satellites/{id}", plugins.Admin, plugins.JSON(p.edit)),
		handle("DELETE /satellites/{id}", plugins.Admin, plugins.JSON(p.remove)),
		handle("POST /satellites/{id}/rotate", plugins.Admin, plugins.JSON(p.rotate)),
		handle("GET /assignments", plugins.Own, handler(p.assignments)),
		handle("POST /runs", plugins.Own, handler(p.runs)),
		handle("POST /heartbeat", plugins.Own, plugins.Guard(plugins.JSON(p.heartbeat), p.enterBeat)),
	)
}

// changed is the channel on which the ID of a satellite is announced whose token was replaced or ended.
const changed = "satellite_changed"

func (p *Satellites) afterPluginsReady(context.Context) error {
	p.host.Go(p.board.loop)
	p.host.Go(p.watch)
	p.host.Listen(healthcheck.Changed, func(string) { p.board.stale("") })
	p.host.Listen(changed, p.board.stale)
	p.host.Readiness.Register(p.probe())
	return nil
}
