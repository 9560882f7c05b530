package healthcheck

import (
	"context"
	"database/sql"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/sql/postgres"
)

// open opens a database as a server does.
func open(t *testing.T, url string) *postgres.Database {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return db
}

// probes takes probes and does nothing with them.
type probes struct{}

func (probes) Register(plugins.Probe) {}

// checkRequest is a request about a check of a system.
func checkRequest(t *testing.T, system, configuration string) *http.Request {
	r := httptest.NewRequestWithContext(t.Context(), "PUT", "/", nil)
	r.SetPathValue("systemId", system)
	r.SetPathValue("configurationId", configuration)
	r.SetPathValue("id", configuration)
	return r
}

// TestAChangeMadeOnOneServerWakesTheOther has a server that looks at the table once an hour, and when a lease of 70 s
// ends: what it does sooner, it does because it was told. Only the first change may be what it finds when it starts.
func TestAChangeMadeOnOneServerWakesTheOther(t *testing.T) {
	db, url := schema(t)
	here := plugin(t, db)
	here.add(t, "east")
	ran := make(chan string, 10)
	there, lease := house(t, db, open(t, url))
	there.scheduler.idle = time.Hour
	if _, err := there.types.add(kind{"test", func(context.Context, json.RawMessage) Outcome {
		ran <- "test"
		return Outcome{Status: plugins.Healthy}
	}}); err != nil {
		t.Fatal(err)
	}
	if err := there.afterPluginsReady(t.Context()); err != nil {
		t.Fatal(err)
	}

	system := plugins.NewID()
	id := configure(t, db, "test", 30*24*time.Hour, time.Minute, time.Now().Add(time.Hour))
	turn := func(enabled bool, sources ...string) {
		commit(t, db, func(ctx context.Context, tx *sql.Tx) error {
			_, err := assign(ctx, tx, system, id, enabled, sources)
			return err
		})
	}
	for _, step := range []struct {
		what string
		do   func()
	}{
		{"assigned", func() { turn(true) }},
		{"another interval", func() {
			in := ConfigurationInput{Name: "Often", Type: "test", Config: json.RawMessage(`{}`), IntervalSeconds: 86400, TimeoutMs: 60_000}
			if _, err := here.updateConfiguration(checkRequest(t, "", id), in); err != nil {
				t.Fatal(err)
			}
		}},
		{"turned off and on", func() { turn(false); turn(true) }},
		{"elsewhere and back", func() { turn(true, "east"); turn(true, local, "east") }},
	} {
		began := time.Now()
		step.do()
		select {
		case <-ran:
			t.Logf("%s: ran after %s", step.what, time.Since(began))
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: did not run", step.what)
		}
		// The next change is for a check that rests.
		for value[bool](t, db, `select lease_id is not null from healthcheck.assignments`) {
		}
	}
	if err := lease.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := lease.Undo(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestEveryChangeIsAnnouncedOnce(t *testing.T) {
	db, url := schema(t)
	h := plugin(t, db)
	id := configure(t, db, "test", time.Hour, time.Second, start)
	told := make(chan string, 100)
	defer open(t, url).Listen(Changed, func(payload string) { told <- payload })()
	system := plugins.NewID()
	in := ConfigurationInput{Name: "Changed", Type: "test", Config: json.RawMessage(`{}`), IntervalSeconds: 60, TimeoutMs: 1000}
	tx := func(f func(context.Context, *sql.Tx) error) func() error {
		return func() error { return plugins.Tx(t.Context(), db, func(tx *sql.Tx) error { return f(t.Context(), tx) }) }
	}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"add a source", tx(func(ctx context.Context, tx *sql.Tx) error { return h.AddSource(ctx, tx, Source{"east", "East"}) })},
		{"offline", tx(func(ctx context.Context, tx *sql.Tx) error { return h.SetSourceOffline(ctx, tx, "east", &start) })},
		{"assign", tx(func(ctx context.Context, tx *sql.Tx) error {
			_, err := assign(ctx, tx, system, id, true, []string{"east"})
			return err
		})},
		{"update", func() error { _, err := h.updateConfiguration(checkRequest(t, "", id), in); return err }},
		{"remove the source", tx(func(ctx context.Context, tx *sql.Tx) error { return h.RemoveSource(ctx, tx, "east") })},
		{"unassign", func() error { _, err := h.unassign(checkRequest(t, system, id), plugins.None{}); return err }},
		{"forget a system", tx(func(ctx context.Context, tx *sql.Tx) error { return h.forgetSystem(ctx, tx, system) })},
		{"delete", func() error { _, err := h.deleteConfiguration(checkRequest(t, "", id), plugins.None{}); return err }},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		select {
		case <-told:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: nobody is told", step.what)
		}
	}
	if err := tx(func(ctx context.Context, tx *sql.Tx) error { return h.RemoveSource(ctx, tx, "east") })(); err != nil { // nothing to remove
		t.Error(err)
	}
	if _, err := h.unassign(checkRequest(t, system, id), plugins.None{}); err == nil {
		t.Error("what is not assigned was removed")
	}
	execute(t, db, `select pg_notify('healthcheck_changed', 'last')`)
	if got := <-told; got != "last" {
		t.Error("something was announced that did not change anything")
	}
}
