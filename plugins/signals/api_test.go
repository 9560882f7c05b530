package signals_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"checkstack/plugins/internal/servertest"
	"checkstack/plugins/signals"
)

func public(name string, data any) signals.Event {
	return signals.Event{Name: name, Public: true, Data: data}
}

func private(name string, data any) signals.Event { return signals.Event{Name: name, Data: data} }

// TestAPI shows what callers of the real server can rely on.
func TestAPI(t *testing.T) {
	s := servertest.Start(t, servertest.Config{})
	viewer := s.Token(t, "viewer")
	t.Run("callers without a token hear public events only", func(t *testing.T) {
		tell := func() {
			publish(t, s.DB, public("a.open", 1), private("a.secret", 2), public("a.open", []string{"<&>", "\n\u2028", "ü"}))
			publish(t, s.DB, private("a.secret", nil), public("a.open", map[string]any{"x": 1.5, "a": nil}))
		}
		is(t, first(listen(t, s, "", "", "", 3, tell)), "a.open 1", `a.open ["\u003c\u0026\u003e","\n\u2028","ü"]`, `a.open {"a":null,"x":1.5}`)
		is(t, first(listen(t, s, viewer, "", "", 5, tell)),
			"a.open 1", "a.secret 2", `a.open ["\u003c\u0026\u003e","\n\u2028","ü"]`, "a.secret null", `a.open {"a":null,"x":1.5}`)
	})
	t.Run("names choose events", func(t *testing.T) {
		tell := func() {
			publish(t, s.DB, public("a.a", 1), public("a.b", 2), public("a.a.a", 3), public("a.c", 4), public("a.b", 5), private("a.c", 6))
		}
		is(t, first(listen(t, s, viewer, "?name=a.b&name=a.c", "", 4, tell)), "a.b 2", "a.c 4", "a.b 5", "a.c 6")
		for query, message := range map[string]string{
			"?name=":           "expected the name of an event, such as satellite.offline",
			"?name=a.b&name=*": "expected the name of an event, such as satellite.offline",
			"?" + strings.Repeat("&name=a.b", 51)[1:]: "expected at most 50 names",
		} {
			s.Do(t, "GET", "/api/signals/events"+query, "", nil).IsInvalid(t, "name", message)
		}
	})
	t.Run("who comes back gets what was missed, and nothing twice", func(t *testing.T) {
		for _, token := range []string{"", viewer} {
			events, last := listen(t, s, token, "", "", 2, func() { publish(t, s.DB, public("b.n", 1), public("b.n", 2)) })
			is(t, events, "b.n 1", "b.n 2")
			if last != events[1].id {
				t.Errorf("the last ID is %s, want %s", last, events[1].id)
			}
			var more []signals.Event
			for i := range 350 { // more than are read at once
				more = append(more, private("b.secret", i), public("b.n", 3+i))
			}
			publish(t, s.DB, more...)
			events, _ = listen(t, s, token, "?name=b.n", last, 350, nil)
			for i, e := range events {
				if want := fmt.Sprint("b.n ", 3+i); e.String() != want {
					t.Fatalf("event %d is %s, want %s", i, e, want)
				}
			}
			again, _ := listen(t, s, token, "?name=b.n&after="+events[99].id, "", 250, nil)
			if fmt.Sprint(again) != fmt.Sprint(events[100:]) || again[0].id != events[100].id {
				t.Error("after in the query gives other events than the header")
			}
			both, _ := listen(t, s, token, "?name=b.n&after="+events[99].id, events[347].id, 2, nil)
			is(t, both, "b.n 351", "b.n 352")
		}
	})
	t.Run("a stream that begins without an event says where it begins", func(t *testing.T) {
		_, last := listen(t, s, "", "", "", 0, nil)
		publish(t, s.DB, public("c.n", "between"))
		events, _ := listen(t, s, "", "", last, 1, nil)
		is(t, events, `c.n "between"`)
	})
	t.Run("who names an ID that is not known is told so, and what comes after", func(t *testing.T) {
		future := strconv.FormatInt(time.Now().Add(time.Hour).UnixMicro(), 10)
		for _, id := range []string{"0", "1", "-5", future, "9223372036854775808", "x", "1e3", "0x10"} {
			events, _ := listen(t, s, "", "?name=d.n", id, 2, func() { publish(t, s.DB, public("d.n", 1)) })
			is(t, events, "signals.reset {}", "d.n 1")
		}
	})
	t.Run("what is rolled back is not told", func(t *testing.T) {
		events, _ := listen(t, s, viewer, "", "", 1, func() {
			tx, err := s.DB.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := publisher().Publish(t.Context(), tx, public("e.n", "rolled back")); err != nil {
				t.Fatal(err)
			}
			if err := tx.Rollback(); err != nil {
				t.Fatal(err)
			}
			publish(t, s.DB, public("e.n", "committed"))
		})
		is(t, events, `e.n "committed"`)
	})
	t.Run("the answer is a stream that nothing on the way should keep", func(t *testing.T) {
		for _, method := range []string{"GET", "HEAD"} {
			req, err := http.NewRequestWithContext(t.Context(), method, s.URL+"/api/signals/events", nil)
			if err != nil {
				t.Fatal(err)
			}
			res := s.Stream(t, req, func(servertest.Response) bool { return true })
			for name, want := range map[string]string{"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"} {
				if got := res.Header.Get(name); res.Status != 200 || got != want {
					t.Errorf("%s: %d, %s %q, want %q", method, res.Status, name, got, want)
				}
			}
		}
		s.Do(t, "POST", "/api/signals/events", viewer, `{}`).Has(t, 405)
		s.Do(t, "GET", "/api/signals/events", "no-token", nil).Has(t, 401)
	})
}

func first(events []told, _ string) []told { return events }

func TestEventsThatCannotBeAreErrorsAndChangeNothing(t *testing.T) {
	s := servertest.Start(t, servertest.Config{})
	for _, test := range []struct {
		event signals.Event
		want  string
	}{
		{signals.Event{}, `publish the event "": the name must be like satellite.offline, of at most 100 bytes`},
		{public("a", nil), `publish the event "a": the name must be`},
		{public("a.", nil), `the name must be`},
		{public(".a", nil), `the name must be`},
		{public("a..b", nil), `the name must be`},
		{public("A.b", nil), `the name must be`},
		{public("1.b", nil), `the name must be`},
		{public("a.b\ndata: x", nil), `the name must be`},
		{public("a."+strings.Repeat("b", 99), nil), `the name must be`},
		{public("signals.reset", nil), `publish the event "signals.reset": names that begin with "signals." are the plugin's own`},
		{public("a.b", strings.Repeat("x", 16<<10-1)), "the data has 16385 bytes, and 16384 are allowed"},
		{public("a.b", make(chan int)), "json: unsupported type: chan int"},
	} {
		tx, err := s.DB.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := publisher().Publish(t.Context(), tx, test.event); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v, want %s", err, test.want)
		}
		if err := tx.Commit(); err != nil { // the transaction goes on
			t.Error(err)
		}
	}
	events, _ := listen(t, s, "", "", "", 3, func() {
		publish(t, s.DB, public("a."+strings.Repeat("b", 98), nil), public("a-1.2.c", nil), public("a.b", strings.Repeat("x", 16<<10-2)))
	})
	is(t, events, "a."+strings.Repeat("b", 98)+" null", "a-1.2.c null", `a.b "`+strings.Repeat("x", 16<<10-2)+`"`)
	ctx, cancel := context.WithCancel(t.Context())
	tx, err := s.DB.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	cancel()
	if err := publisher().Publish(ctx, tx, public("a.b", 1)); err == nil || !strings.HasPrefix(err.Error(), `publish the event "a.b": `) {
		t.Error(err)
	}
}

func TestEveryServerTellsEveryEvent(t *testing.T) {
	one := servertest.Start(t, servertest.Config{})
	two := servertest.Start(t, servertest.Config{Database: one.Database})
	three := servertest.Start(t, servertest.Config{Database: one.Database})
	last := ""
	for i, s := range []*servertest.Server{one, two, three, one, three} {
		events, next := listen(t, s, "", "", last, 1, func() { publish(t, one.DB, public("a.n", i)) })
		is(t, events, fmt.Sprint("a.n ", i))
		last = next
	}
	three.Kill(t)
	publish(t, one.DB, public("a.n", "after"))
	events, _ := listen(t, two, "", "", last, 1, nil)
	is(t, events, `a.n "after"`)
}

func TestStreamsDoNotHoldUpAServerThatStops(t *testing.T) {
	s := servertest.Start(t, servertest.Config{})
	var streams []*stream
	for range 3 {
		st, err := open(t.Context(), s, "", "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer st.res.Body.Close()
		if _, err := st.block(); err != nil {
			t.Fatal(err)
		}
		streams = append(streams, st)
	}
	start := time.Now()
	s.Stop(t)
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("stopping took %v", took)
	}
	for _, st := range streams {
		if e, err := st.next(); err != io.EOF { // an answer that is whole
			t.Error(e, err)
		}
	}
	if strings.Contains(s.Log(), "cut off") {
		t.Error(s.Log())
	}
}

// TestOldEventsAreTakenAway fills the log faster than one by one, as publish.sql does it.
func TestOldEventsAreTakenAway(t *testing.T) {
	s := servertest.Start(t, servertest.Config{})
	exec := func(statement string, args ...any) {
		t.Helper()
		if _, err := s.DB.ExecContext(t.Context(), statement, args...); err != nil {
			t.Fatal(err)
		}
	}
	events, _ := listen(t, s, "", "", "", 1, func() { publish(t, s.DB, public("a.n", 0)) })
	const fill = "insert into signals.events (name, public, data) select 'a.n', true, to_json(i) from generate_series(1, 12345) i"
	last, end := listen(t, s, "", "", events[0].id, 12345, func() {
		exec(fill)
		exec("select pg_notify('signals_published', '')")
	})
	for i, e := range last {
		if e.String() != fmt.Sprint("a.n ", i+1) {
			t.Fatalf("event %d is %s", i+1, e)
		}
	}
	waitFor(t, s.DB, 10_000)
	is(t, first(listen(t, s, "", "", events[0].id, 1, nil)), "signals.reset {}")
	is(t, first(listen(t, s, "", "", last[2343].id, 1, nil)), "signals.reset {}")
	is(t, first(listen(t, s, "", "", last[2344].id, 10_000, nil))[:2], "a.n 2346", "a.n 2347")

	// As if all but the newest 7 were a day old, and a second more.
	exec(`update signals.events set position = position - 86401000000 where position <= $1`, last[12345-7-1].id)
	exec(`update signals.log set trimmed = trimmed - 86401000000`)
	second := servertest.Start(t, servertest.Config{Database: s.Database})
	waitFor(t, s.DB, 7)
	is(t, first(listen(t, second, "", "", last[12345-3].id, 2, nil)), "a.n 12344", "a.n 12345")
	is(t, first(listen(t, second, "", "", end, 1, func() { publish(t, s.DB, public("a.n", "new")) })), `a.n "new"`)
	is(t, first(listen(t, s, "", "", end, 1, nil)), `a.n "new"`)
}

// waitFor waits until there are n events.
func waitFor(t *testing.T, db *sql.DB, n int) {
	t.Helper()
	deadline := time.After(time.Minute)
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for count := -1; ; {
		if err := db.QueryRowContext(t.Context(), "select count(*) from signals.events").Scan(&count); err != nil {
			t.Fatal(err)
		}
		if count == n {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("there are still %d events, and not %d", count, n)
		case <-look.C:
		}
	}
}
