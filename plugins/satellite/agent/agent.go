// Package agent is the satellite: it runs the checks that a server assigns to it, and brings what they found to the server,
// once, whatever happens on the way.
//
//	server ── assignments ──► scheduler ── runs ──► gatherer ── batches ──► journal, on disk
//	   ▲                                                                       │
//	   └───────────────────────────── sender ◄─────────────────────────────────┘
//
// Each arrow waits for the one before it only where something would be lost otherwise. The server may be away for weeks: the
// checks go on as they were assigned last, also after a restart, and the journal grows up to its bound. The disk may be full:
// results stay in memory and are sent from there. The token may be refused: then all of that goes on too, until somebody
// puts it right.
//
// The hard case is the answer that is lost, for days or at a kill. A batch has a number that is bound to its runs on disk,
// so it is sent again as it was, and the server knows it.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck"
	"checkstack/plugins/satellite/journal"
	"checkstack/plugins/satellite/wire"
)

// pingAfter is how long a connection may be silent before it is asked whether it is alive, and how long it has to answer.
const pingAfter = 15 * time.Second

// Config is what an agent needs.
type Config struct {
	Server  string              // the origin of the server: https://status.example.org
	Token   string              // the satellite's, "sat_…"
	Dir     string              // where the journal is; made if need be
	Size    int64               // the most bytes of the journal
	Checks  int                 // how many may run at once
	Policy  *healthcheck.Policy // what checks may do on this machine
	Listen  string              // where its own health is served; empty for nowhere
	Version string              // of this program
	Log     *slog.Logger
}

// checkTypes makes runs: [healthcheck.Types].
type checkTypes interface {
	Names() []string
	Run(context.Context, healthcheck.SourceCheck) (plugins.Run, error)
}

// agent is a running satellite.
type agent struct {
	cfg       Config
	journal   *journal.Journal
	client    *client
	scheduler *scheduler
	gatherer  *gatherer
	sender    *sender
	sheet     *sheet
	heart     *heart
	owner     *owner
}

// Run is the whole life of a satellite. It ends with ctx: what was gathered by then is sent, if that takes no more than a few
// seconds, or in the journal, and the runs that are under way are given up. The error says why the satellite could not start,
// what was lost at its end, or that the journal has results of another satellite.
func Run(ctx context.Context, cfg Config) error {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingAfter} // or a dead connection is used again and again
	defer transport.CloseIdleConnections()
	a, err := newAgent(cfg, transport, healthcheck.NewTypes(cfg.Policy, cfg.Log))
	if err != nil {
		return err
	}
	var listener net.Listener
	if cfg.Listen != "" {
		if listener, err = net.Listen("tcp", cfg.Listen); err != nil {
			return errors.Join(fmt.Errorf("serve its own health at -listen: %w", err), a.journal.Close())
		}
		cfg.Log.Info("listening", "addr", listener.Addr().String())
	}
	return a.run(ctx, listener)
}

func newAgent(cfg Config, transport http.RoundTripper, types checkTypes) (*agent, error) {
	j, err := journal.Open(cfg.Dir, journal.Options{Size: cfg.Size, Log: cfg.Log})
	if err != nil {
		return nil, fmt.Errorf("use the folder of -journal, %s: %w", cfg.Dir, err)
	}
	a := &agent{cfg: cfg, journal: j, client: newClient(cfg, transport)}
	a.gatherer = &gatherer{journal: j, log: cfg.Log, in: make(chan []byte, maxGathered)}
	a.scheduler = newScheduler(types, cfg.Log, cfg.Checks, a.gatherer.add)
	recovered := make(chan struct{}, 1)
	a.sender = &sender{journal: j, client: a.client, log: cfg.Log, came: recovered}
	a.owner = &owner{files: j.Files(), log: cfg.Log, dir: cfg.Dir, pending: a.pending, renew: j.Renew}
	a.sheet = &sheet{files: j.Files(), client: a.client, log: cfg.Log, apply: a.scheduler.set, check: a.owner.is,
		answered: make(chan struct{}), recovered: recovered}
	a.heart = &heart{client: a.client, log: cfg.Log, state: a.beat, started: time.Now(), came: recovered}
	return a, nil
}

// run runs all parts until ctx ends, and then stops them in the order in which results flow. listener may be nil.
func (a *agent) run(ctx context.Context, listener net.Listener) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	checks, endChecks := context.WithCancelCause(context.WithoutCancel(ctx))
	var parts, gathering sync.WaitGroup
	gathering.Go(a.gatherer.loop)
	a.scheduler.begin(checks)
	a.sheet.load()
	var known <-chan struct{} // nil: a folder that was never used sends to whom it is told
	if a.owner.load() {
		known = a.sheet.answered
	}
	state := a.journal.State()
	a.cfg.Log.Info("satellite started", "server", a.cfg.Server, "version", a.cfg.Version, "pending", state.Pending, "dropped", state.Dropped)
	parts.Go(func() {
		if err := a.sheet.loop(ctx); err != nil {
			end(err)
		}
	})
	parts.Go(func() { a.sender.loop(ctx, known) })
	parts.Go(func() { a.heart.loop(ctx, a.sheet.answered) })
	if listener != nil {
		parts.Go(func() { a.serve(ctx, listener) })
	}
	<-ctx.Done()
	endChecks(errors.New("the satellite is stopping"))
	parts.Wait() // of which one starts checks
	a.scheduler.end()
	a.gatherer.end()
	gathering.Wait()
	foreign, _ := errors.AsType[*foreignError](context.Cause(ctx))
	if silent, ever := a.client.silent(); foreign == nil && ever && silent < maxSilence && !a.client.refused() && a.sheet.known(known) {
		a.sender.finish(ctx)
	}
	if err := a.journal.Close(); err != nil {
		return fmt.Errorf("close the journal: %w", err)
	}
	if foreign != nil {
		return foreign
	}
	state = a.journal.State()
	a.cfg.Log.Info("satellite stopped", "pending", state.Pending, "dropped", state.Dropped)
	return nil
}

// pending is how many runs the server does not have yet.
func (a *agent) pending() int64 { return a.gatherer.waiting() + a.journal.State().Pending }

// beat is how the satellite is, for a heartbeat.
func (a *agent) beat(now time.Time) wire.Heartbeat {
	state := a.journal.State()
	return wire.Heartbeat{
		Version: a.cfg.Version, StartedAt: a.heart.started.UTC(), SentAt: now.UTC(), Checks: a.scheduler.size(),
		PendingRuns: a.pending(), PendingBytes: state.PendingBytes, Dropped: state.Dropped,
	}
}
