package healthcheck

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/catalog"
	"checkstack/plugins/healthcheck/engine"
	"checkstack/plugins/notification"
	"checkstack/plugins/signals"
	"checkstack/sql/postgres"
	"checkstack/sql/postgres/postgrestest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// database is a database with the tables of this plugin and those it requires, and of a ledger.
func database(t *testing.T) *sql.DB {
	db, _ := schema(t)
	return db
}

// schema is database with the URL of the database.
func schema(t *testing.T) (*sql.DB, string) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	none := new(plugins.Host)
	db, url := postgrestest.New(t,
		postgres.Set{ID: "notification", Files: notification.New(none).Plugin().Migrations},
		postgres.Set{ID: "signals", Files: signals.New(none).Plugin().Migrations},
		postgres.Set{ID: "catalog", Files: catalog.New(none, nil).Plugin().Migrations},
		postgres.Set{ID: "healthcheck", Files: files})
	execute(t, db, `create table ledger (run_id uuid primary key, system_id text, configuration_id uuid, status text, result jsonb,
		executed_at timestamptz, source_id text, once boolean not null default false)`)
	execute(t, db, `create table retentions (system_id text, configuration_id uuid, retention text)`)
	return db, url
}

// ledger is a history of runs and nothing else, in a table. It refuses runs whose message is "refuse".
type ledger struct{ plugins.History }

func (ledger) Record(ctx context.Context, tx *sql.Tx, runs []plugins.Run) (out plugins.Recorded, err error) {
	for _, run := range runs {
		if run.Message == "refuse" {
			out.Refused = append(out.Refused, plugins.Refusal{RunID: run.ID, Reason: "refused"})
			continue
		}
		var result *string
		if run.Result != nil {
			result = new(string(run.Result))
		}
		res, err := tx.ExecContext(ctx, `insert into ledger values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing`,
			run.ID, run.SystemID, run.ConfigurationID, string(run.Status), result, run.ExecutedAt, run.SourceID)
		if err != nil {
			return out, err
		}
		n, _ := res.RowsAffected()
		out.Stored += int(n)
		out.Known += 1 - int(n)
	}
	return out, nil
}

// RecordOnce marks its runs.
func (l ledger) RecordOnce(ctx context.Context, tx *sql.Tx, runs []plugins.Run) (plugins.Recorded, error) {
	out, err := l.Record(ctx, tx, runs)
	for _, run := range runs {
		if err == nil {
			_, err = tx.ExecContext(ctx, `update ledger set once = true where run_id = $1`, run.ID)
		}
	}
	return out, err
}

// SetRetention notes what was set last.
func (ledger) SetRetention(ctx context.Context, tx *sql.Tx, system, configuration string, r *plugins.Retention) error {
	_, err := tx.ExecContext(ctx, `insert into retentions values ($1, $2, $3)`, system, configuration, fmt.Sprint(r))
	return err
}

// kind is a check type made of functions.
type kind struct {
	name string
	run  func(context.Context, json.RawMessage) Outcome
}

func (k kind) Type() string            { return k.name }
func (k kind) Schema() json.RawMessage { return json.RawMessage(`{"type":"object"}`) }
func (k kind) Paths() []engine.Path    { return []engine.Path{{Name: "n", Kind: engine.Number}} }

// Compile takes everything as {"normal": true}, apart from what shows what a type could do wrong.
func (k kind) Compile(config json.RawMessage) (engine.Check, error) {
	c := kindCheck{k, json.RawMessage(`{"normal":true}`)}
	switch string(config) {
	case `{"bad":true}`:
		return nil, plugins.Invalid("bad", "expected false")
	case `{"broken":true}`:
		c.normal = json.RawMessage(`7`)
	case `{"nothing":true}`:
		c.normal = nil
	}
	return c, nil
}

type kindCheck struct {
	kind
	normal json.RawMessage
}

func (c kindCheck) Normal() json.RawMessage         { return c.normal }
func (c kindCheck) Target() string                  { return "" }
func (c kindCheck) Run(ctx context.Context) Outcome { return c.run(ctx, c.normal) }

func fine(context.Context, json.RawMessage) Outcome {
	return Outcome{Status: plugins.Healthy, Latency: new(5 * time.Millisecond)}
}

// servers makes the working parts of n servers that share a database; each knows the check types.
func servers(t *testing.T, db *sql.DB, n int, types ...CheckType) []*scheduler {
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	all := make([]*scheduler, n)
	for i := range all {
		reg := &registry{log: log, vault: &vault{}}
		for _, c := range types {
			if _, err := reg.add(c); err != nil {
				t.Fatal(err)
			}
		}
		rec := &recorder{db: db, history: ledger{}, settler: &settler{}, log: log, filled: make(chan struct{}, 1)}
		all[i] = &scheduler{db: db, log: log, types: reg, recorder: rec, idle: maxIdle, woken: make(chan struct{}, 1),
			lanes: lanes{places: 64, perHost: 64}}
	}
	return all
}

// plugin makes the plugin, as far as it works without the rest of a server.
func plugin(t *testing.T, db *sql.DB, types ...CheckType) *Healthcheck {
	s := servers(t, db, 1, append(types, kind{"test", fine})...)[0]
	return &Healthcheck{host: &plugins.Host{ID: "healthcheck", DB: db, History: ledger{}}, types: s.types, recorder: s.recorder, scheduler: s}
}

// house makes the plugin with the plugins that it requires, which are ready. db has their tables.
func house(t *testing.T, db *sql.DB, notices plugins.Notices) (*Healthcheck, *plugins.Lease) {
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	lend := func(id string) (*plugins.Host, *plugins.Lease) {
		h := &plugins.Host{ID: id, Log: log, DB: db, Notices: notices, Readiness: probes{}, History: ledger{}}
		return h, plugins.Lend(t.Context(), h, func(err error) { t.Error(err) })
	}
	host, _ := lend("notification")
	notify := notification.New(host)
	host, _ = lend("signals")
	events := signals.New(host)
	host, _ = lend("catalog")
	cat := catalog.New(host, notify)
	if err := cat.Plugin().AfterPluginsReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	host, lease := lend("healthcheck")
	return New(host, cat, notify, events), lease
}

// commit runs f in a transaction that must succeed.
func commit(t *testing.T, db *sql.DB, f func(ctx context.Context, tx *sql.Tx) error) {
	t.Helper()
	if err := plugins.Tx(t.Context(), db, func(tx *sql.Tx) error { return f(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}

// give assigns a configuration to a system, to be checked from sources.
func give(t *testing.T, db *sql.DB, system, configuration string, sources ...string) (a Assignment) {
	t.Helper()
	commit(t, db, func(ctx context.Context, tx *sql.Tx) (err error) {
		a, err = assign(ctx, tx, system, configuration, true, sources)
		return err
	})
	return a
}

// assign assigns a configuration to a system, in a transaction.
func assign(ctx context.Context, tx *sql.Tx, system, configuration string, enabled bool, sources []string) (Assignment, error) {
	return bare().Assign(ctx, tx, system, configuration, AssignmentInput{Enabled: &enabled, Sources: sources}, nil)
}

// bare is as much of the plugin as assigns.
func bare() *Healthcheck {
	return &Healthcheck{host: &plugins.Host{ID: "healthcheck"}, types: &registry{vault: &vault{}}, recorder: &recorder{settler: &settler{}}}
}

// strict are thresholds by which the status of a slice is that of its last run.
var strict = `{"mode":"consecutive","healthy":{"minSuccessCount":1},"degraded":{"minFailureCount":1},"unhealthy":{"minFailureCount":1}}`

// add makes sources known, each by its ID as its name.
func (h *Healthcheck) add(t *testing.T, ids ...string) {
	t.Helper()
	for _, id := range ids {
		commit(t, h.host.DB, func(ctx context.Context, tx *sql.Tx) error { return h.AddSource(ctx, tx, Source{id, id}) })
	}
}

// configure adds a configuration of a type and assigns it to systems, due at a time.
func configure(t *testing.T, db *sql.DB, kind string, interval, timeout time.Duration, due time.Time, systems ...string) (id string) {
	t.Helper()
	id = plugins.NewID()
	err := plugins.Tx(t.Context(), db, func(tx *sql.Tx) error {
		name := plugins.NewID()
		if _, err := tx.ExecContext(t.Context(), configurationInsertSQL, id, name, name, "", kind, "{}", "[]", int(interval.Seconds()),
			int(timeout.Milliseconds()), true, false, nil); err != nil {
			return err
		}
		for _, system := range systems {
			if _, err := assign(t.Context(), tx, system, id, true, nil); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(t.Context(), `update healthcheck.assignments set due_at = $2, next_run_at = $2, slot_at = $2 where configuration_id = $1`, id, due)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func execute(t *testing.T, db *sql.DB, statement string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

func value[T any](t *testing.T, db *sql.DB, query string, args ...any) (v T) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), query, args...).Scan(&v); err != nil && !errors.Is(err, sql.ErrNoRows) {
		t.Fatal(err)
	}
	return v
}

// commitSystem makes a system.
func commitSystem(t *testing.T, h *Healthcheck, name string, metadata map[string]any) (id string) {
	t.Helper()
	commit(t, h.host.DB, func(ctx context.Context, tx *sql.Tx) error {
		s, err := h.catalog.CreateSystem(ctx, tx, catalog.System{Name: name, Metadata: metadata})
		id = s.ID
		return err
	})
	return id
}
