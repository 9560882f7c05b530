package signals

import (
	"context"
	"database/sql"
	"log/slog"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/sql/postgres"
	"checkstack/sql/postgres/postgrestest"
)

// logs makes the plugins of several servers on one database, none of which follows the log by itself.
func logs(t testing.TB, n int) (servers []*Signals) {
	t.Helper()
	db, _ := postgrestest.New(t, postgres.Set{ID: "signals", Files: New(&plugins.Host{}).Plugin().Migrations})
	for range n {
		s := New(&plugins.Host{ID: "signals", DB: db, Log: slog.New(slog.DiscardHandler)})
		newest, _, err := s.state(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.window.begin(newest)
		servers = append(servers, s)
	}
	return servers
}

// publish publishes n events, each in a transaction of its own.
func (s *Signals) publish(t testing.TB, n int) {
	t.Helper()
	for range n {
		err := plugins.Tx(t.Context(), s.host.DB, func(tx *sql.Tx) error {
			return s.Publish(t.Context(), tx, Event{Name: "a.n", Public: true})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (s *Signals) caughtUp(t testing.TB, want int) {
	t.Helper()
	if n, err := s.catchUp(t.Context()); n != want || err != nil {
		t.Fatalf("caught up on %d events, want %d: %v", n, want, err)
	}
}

func (s *Signals) exec(t testing.TB, statement string) {
	t.Helper()
	if _, err := s.host.DB.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func TestServerThatWasAwayTellsItsClientsThatTheyMissedSomething(t *testing.T) {
	servers := logs(t, 2)
	here, away := servers[0], servers[1]
	begin := away.window.end()
	here.publish(t, 7)
	here.caughtUp(t, 7)
	here.exec(t, "update signals.log set trimmed = newest")
	here.exec(t, "delete from signals.events")
	here.publish(t, 3)
	here.caughtUp(t, 3)

	_, trimmed, err := away.state(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	away.caughtUp(t, 3)
	if away.window.has(begin) || !away.window.has(trimmed) {
		t.Errorf("the window begins at %d, want %d", away.window.base, trimmed)
	}
	c := &client{Signals: away, ctx: t.Context(), position: begin}
	text, _, err := c.next()
	if want := format(away.window.end(), "signals.reset", "{}"); text != want || err != nil {
		t.Errorf("%q, %v, want %q", text, err, want)
	}
}

func TestEventsFromBeforeTheWindowAreRead(t *testing.T) {
	servers := logs(t, 2)
	early, late := servers[0], servers[1]
	begin := early.window.end()
	early.publish(t, 250)
	early.caughtUp(t, 250)
	late.window.begin(early.window.end())
	late.publish(t, 5)
	late.caughtUp(t, 5)
	c, heard := &client{Signals: late, ctx: t.Context(), position: begin}, ""
	for {
		text, _, err := c.next()
		if err != nil {
			t.Fatal(err)
		}
		if text == "" {
			break
		}
		heard += text
	}
	events, err := late.after(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	want := ""
	for _, e := range events {
		want += e.text
	}
	if len(events) != 255 || heard != want {
		t.Errorf("heard %d events of %d", strings.Count(heard, "\n\n"), len(events))
	}
}

func TestPositionsFollowTheClockAndNeverGoBack(t *testing.T) {
	s := logs(t, 1)[0]
	s.publish(t, 3)
	s.caughtUp(t, 3)
	if newest, now := s.window.end(), time.Now().UnixMicro(); newest < now-3_600_000_000 || newest > now+1_000_000 {
		t.Errorf("positions run away from the clock: %d at %d", newest, now)
	}
	s.exec(t, "update signals.log set newest = newest + 3600000000") // the clock was an hour ahead
	ahead, _, err := s.state(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.publish(t, 2)
	s.caughtUp(t, 2)
	if newest := s.window.end(); newest != ahead+2 {
		t.Errorf("the newest position is %d, want %d", newest, ahead+2)
	}
}

func TestFailingDatabaseIsAnError(t *testing.T) {
	s := logs(t, 1)[0]
	s.publish(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := s.catchUp(ctx); n != 0 || err == nil || !strings.Contains(err.Error(), "look for new events") {
		t.Error(n, err)
	}
	if err := s.trim(ctx); err == nil || !strings.Contains(err.Error(), "take away old events") {
		t.Error(err)
	}
	s.exec(t, "alter table signals.events rename to gone")
	if _, err := s.catchUp(t.Context()); err == nil {
		t.Error("no error without a table")
	}
}

func BenchmarkPublish(b *testing.B) {
	s := logs(b, 1)[0]
	for b.Loop() {
		s.publish(b, 1)
	}
}

// BenchmarkCatchUp puts a thousand events in order and reads them.
func BenchmarkCatchUp(b *testing.B) {
	s := logs(b, 1)[0]
	for b.Loop() {
		s.exec(b, "insert into signals.events (name, public, data) select 'a.n', true, '{}' from generate_series(1, 1000)")
		s.caughtUp(b, 1000)
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "events/s")
}
