package healthcheck

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"checkstack/plugins"
)

func TestASystemIsAsBadAsTheWorstOfItsChecks(t *testing.T) {
	db := database(t)
	at := func(minute int) *time.Time { return new(start.Add(time.Duration(minute) * time.Minute)) }
	type is struct {
		status plugins.Status
		since  int
	}
	for i, test := range []struct {
		name   string
		checks []is
		status plugins.Status
		since  *time.Time
	}{
		{"nothing is on", nil, paused, nil},
		{"nothing has run", []is{{unknown, 1}}, unknown, at(1)},
		{"all are well, the last since 3", []is{{plugins.Healthy, 1}, {plugins.Healthy, 3}, {plugins.Healthy, 2}}, plugins.Healthy, at(3)},
		{"one has not run", []is{{plugins.Healthy, 1}, {unknown, 4}}, unknown, at(4)},
		{"two have not run, the first since 2", []is{{unknown, 4}, {plugins.Healthy, 1}, {unknown, 2}}, unknown, at(2)},
		{"one is stale", []is{{unknown, 1}, {stale, 6}, {plugins.Healthy, 7}}, stale, at(6)},
		{"one is slow", []is{{plugins.Healthy, 5}, {stale, 1}, {unknown, 0}, {plugins.Degraded, 4}}, plugins.Degraded, at(4)},
		{"two are down, the first since 2", []is{{plugins.Degraded, 1}, {plugins.Unhealthy, 3}, {plugins.Unhealthy, 2}, {plugins.Healthy, 9}},
			plugins.Unhealthy, at(2)},
	} {
		system := fmt.Sprint("s", i)
		for _, c := range test.checks {
			id := configure(t, db, "test", time.Hour, time.Second, start, system)
			execute(t, db, `update healthcheck.assignments set status = $2, since = $3 where configuration_id = $1`, id, string(c.status), *at(c.since))
		}
		off := configure(t, db, "test", time.Hour, time.Second, start, system) // what is off does not count
		execute(t, db, `update healthcheck.assignments set status = 'paused', enabled = false where configuration_id = $1`, off)
		got, err := readStatus(t.Context(), db, system)
		same := got.Since == test.since || got.Since != nil && test.since != nil && got.Since.Equal(*test.since)
		if err != nil || got.SystemID != system || got.Status != test.status || !same || len(got.Checks) != len(test.checks) {
			t.Errorf("%s: got %+v, %v; want %s since %v", test.name, got, err, test.status, test.since)
		}
	}
}

func TestACheckIsAsBadAsTheWorstOfItsSlices(t *testing.T) {
	at := func(minute int) time.Time { return start.Add(time.Duration(minute) * time.Minute) }
	type slice struct {
		memory
		offline bool
	}
	seen := func(status plugins.Status, since, last int) slice {
		return slice{memory{status: status, since: at(since), last: at(last)}, false}
	}
	away := func(s slice) slice { s.offline = true; return s }
	silent := func(s slice, since int) slice { s.stale, s.since = true, at(since); return s }
	fresh := slice{}
	const bad, slow, well = plugins.Unhealthy, plugins.Degraded, plugins.Healthy
	never := time.Time{}
	for _, test := range []struct {
		name    string
		slices  []slice
		quorum  int
		status  plugins.Status
		since   time.Time // when it came to be so, as far as the slices can tell
		decides int       // the slice whose message is shown, from 1; 0: none has one
	}{
		{"no source", nil, 0, unknown, never, 0},
		{"one", []slice{seen(slow, 1, 2)}, 0, slow, at(1), 1},
		{"one that has not run", []slice{fresh}, 0, unknown, never, 0},
		{"all are well", []slice{seen(well, 1, 7), seen(well, 3, 8), seen(well, 2, 6)}, 0, well, at(3), 2},
		{"one has not run", []slice{seen(well, 1, 7), fresh}, 0, unknown, never, 0},
		{"one is away", []slice{seen(well, 1, 7), away(seen(well, 1, 3)), fresh}, 0, unknown, never, 2},
		{"one is away, another sees a failure", []slice{away(seen(well, 1, 9)), seen(bad, 2, 4)}, 0, bad, at(2), 2},
		{"one that is away saw a failure", []slice{away(seen(bad, 1, 9)), seen(well, 2, 4)}, 0, unknown, never, 1},
		{"one is silent", []slice{seen(well, 1, 7), silent(seen(well, 2, 3), 5), fresh}, 0, stale, at(5), 2},
		{"one is silent, another is slow", []slice{silent(seen(bad, 2, 3), 5), seen(slow, 4, 6)}, 0, slow, at(4), 2},
		{"one is silent and away", []slice{seen(well, 1, 7), away(silent(seen(bad, 2, 3), 5))}, 0, unknown, never, 2},
		{"one of two fails", []slice{seen(bad, 5, 9), seen(well, 1, 10)}, 2, well, at(1), 1},
		{"one of two fails, the other is slow", []slice{seen(bad, 5, 9), seen(slow, 6, 10)}, 2, slow, at(6), 1},
		{"two of three fail, the second since 5", []slice{seen(bad, 5, 9), seen(bad, 2, 8), seen(well, 1, 10)}, 2, bad, at(5), 1},
		{"two of three must agree, and one is away", []slice{seen(bad, 5, 9), away(seen(bad, 2, 8)), seen(well, 1, 10)}, 2, unknown, never, 1},
		{"more must agree than there are", []slice{seen(bad, 5, 9), seen(bad, 7, 8)}, 3, bad, at(7), 1},
	} {
		w := whole{on: true}
		c := CheckStatus{}
		if test.quorum > 0 {
			w.quorum = &test.quorum
		}
		for i, s := range test.slices {
			w.slices, w.offline = append(w.slices, s.memory), append(w.offline, s.offline)
			shown := SourceStatus{Status: s.effective()}
			if s.offline {
				shown.Status = unknown
			}
			if !s.last.IsZero() {
				shown.LastRunAt, shown.Message, shown.LatencyMs = &s.last, fmt.Sprint(i+1), new(int32(i+1))
			}
			c.add(shown)
		}
		if status, since := w.settle(); status != test.status || !since.Equal(test.since) {
			t.Errorf("%s: got %s since %s", test.name, status, since)
		}
		switch {
		case test.decides == 0 && (c.Message != "" || c.LatencyMs != nil || c.LastRunAt != nil):
			t.Errorf("%s: it says %+v", test.name, c)
		case test.decides > 0 && (c.Message != fmt.Sprint(test.decides) || *c.LatencyMs != int32(test.decides) ||
			!c.LastRunAt.Equal(test.slices[test.decides-1].last)):
			t.Errorf("%s: it says %+v", test.name, c)
		}
		if len(c.Sources) != len(test.slices) {
			t.Errorf("%s: %d sources", test.name, len(c.Sources))
		}
		w.on = false
		if status, since := w.settle(); status != paused || !since.IsZero() {
			t.Errorf("%s, and it is off: %s since %s", test.name, status, since)
		}
	}
}

func TestASliceIsUnknownOrStaleWhileNobodyKnowsHowItIs(t *testing.T) {
	db := database(t)
	h := plugin(t, db)
	h.add(t, "east", "west")
	id := configure(t, db, "test", 100*time.Second, 2*time.Second, start)
	give(t, db, "a", id, "east", "west", local)
	settled(t, db)
	execute(t, db, `update healthcheck.assignments set thresholds = $1`, strict)
	ran := func(source string, status plugins.Status, ago time.Duration) {
		run := report("a", id, status, time.Now().Add(-ago))
		run.Message, run.LatencyMs = "fine", new(int32(5))
		if source != "" {
			h.record(t, source, true, run)
		} else if _, err := h.recorder.store(t.Context(), []finished{{key: keyOf(run), run: &run}}); err != nil {
			t.Fatal(err)
		}
	}
	past := func(source string, ago time.Duration) { // as if nothing had come for so long
		execute(t, db, `update healthcheck.states set last_run_at = now() - make_interval(secs => $2) where source_id = $1`, source, ago.Seconds())
	}
	offline := func(source string, since *time.Time) {
		commit(t, db, func(ctx context.Context, tx *sql.Tx) error { return h.SetSourceOffline(ctx, tx, source, since) })
	}
	for i, step := range []struct {
		do   func()
		want string
	}{
		{func() {}, "unknown: [ unknown ''] [east unknown ''] [west unknown '']"},
		{func() { ran("", plugins.Healthy, 0); past("", 301*time.Second) }, "unknown: [ healthy 'fine'] [east unknown ''] [west unknown '']"},
		{func() {
			ran("east", plugins.Healthy, 0)
			ran("west", plugins.Healthy, 0)
			past("west", 301*time.Second)
		},
			"healthy: [ healthy 'fine'] [east healthy 'fine'] [west healthy 'fine']"},
		{func() { past("west", 303*time.Second) },
			"stale: [ healthy 'fine'] [east healthy 'fine'] [west stale 'there has been no result for more than three intervals']"},
		{func() { past("", 303*time.Second); ran("west", plugins.Healthy, 0) }, // it is no other with this server
			"stale: [ stale 'there has been no result for more than three intervals'] [east healthy 'fine'] [west healthy 'fine']"},
		{func() { offline("east", &start); ran("", plugins.Healthy, 0) }, "unknown: [ healthy 'fine'] [east unknown 'the source is offline'] [west healthy 'fine']"},
		{func() { past("east", time.Hour) }, "unknown: [ healthy 'fine'] [east unknown 'the source is offline'] [west healthy 'fine']"},
		{func() { ran("east", plugins.Healthy, 0); offline("east", nil) }, "healthy: [ healthy 'fine'] [east healthy 'fine'] [west healthy 'fine']"},
		{func() { ran("east", plugins.Unhealthy, 0) }, "unhealthy: [ healthy 'fine'] [east unhealthy 'fine'] [west healthy 'fine']"},
		{func() { offline("east", &start) }, "unknown: [ healthy 'fine'] [east unknown 'the source is offline'] [west healthy 'fine']"},
		{func() {
			commit(t, db, func(ctx context.Context, tx *sql.Tx) error { return h.RemoveSource(ctx, tx, "east") })
		},
			"healthy: [ healthy 'fine'] [west healthy 'fine']"},
		{func() { give(t, db, "a", id, "west") }, "healthy: [west healthy 'fine']"},
		{func() {
			commit(t, db, func(ctx context.Context, tx *sql.Tx) error { return h.RemoveSource(ctx, tx, "west") })
		}, "unknown:"},
	} {
		step.do()
		watches(t, h)
		got, err := readStatus(t.Context(), db, "a")
		if err != nil || len(got.Checks) != 1 || got.Status != got.Checks[0].Status || got.Since == nil || !got.Since.Equal(got.Checks[0].Since) {
			t.Fatalf("step %d: %+v, %v", i, got, err)
		}
		line := string(got.Status) + ":"
		for _, s := range got.Checks[0].Sources {
			line += fmt.Sprintf(" [%s %s '%s']", s.SourceID, s.Status, s.Message)
			if known := s.Status != unknown && s.Status != stale; (s.LatencyMs != nil) != known || (s.Since == nil) != (s.Status == unknown) {
				t.Errorf("step %d: a latency of %v since %v", i, s.LatencyMs, s.Since)
			}
		}
		if line != step.want {
			t.Errorf("step %d: got  %s\nwant %s", i, line, step.want)
		}
	}
}

// watches has the watch look once, and long enough after a server has started.
func watches(t *testing.T, h *Healthcheck) *watch {
	t.Helper()
	execute(t, h.host.DB, `update healthcheck.watch set seen_at = now()`)
	w := &watch{db: h.host.DB, log: slog.New(slog.NewTextHandler(t.Output(), nil)), settler: h.recorder.settler, expired: time.Now()}
	if err := w.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestTheStatusOfASystemHasItsForm(t *testing.T) {
	db := database(t)
	h := plugin(t, db)
	h.add(t, "b")
	const c, d = "0198c0de-0000-4000-8000-00000000000c", "0198c0de-0000-4000-8000-00000000000d"
	for id, name := range map[string]string{c: "n", d: "o"} {
		execute(t, db, `insert into healthcheck.configurations (id, name, name_key, type, config, interval_seconds, timeout_ms)
			values ($1, $2, $2, 'test', '{}', 60, 1000)`, id, name)
	}
	status := func() string {
		got, err := readStatus(t.Context(), db, "s")
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if got := status(); got != `{"systemId":"s","status":"unknown","since":null,"checks":[]}` {
		t.Errorf("without a check: %s", got)
	}
	give(t, db, "s", c, local, "b")
	execute(t, db, `insert into healthcheck.states (system_id, configuration_id, source_id, status, since, last_run_at, last_status, latency_ms, message, run_id)
		values ('s', $1, '', 'healthy', $2, $2, 'degraded', 7, 'm', gen_random_uuid())`, c, start)
	execute(t, db, `insert into healthcheck.errors (system_id, configuration_id, began_at, last_at, runs, message) values ('s', $1, $2, $2, 3, 'e')`, c, start)
	execute(t, db, `update healthcheck.assignments set status = 'healthy', since = $1`, start)
	const first = `{"configurationId":"` + c + `","name":"n","type":"test","status":"healthy",` +
		`"since":"2026-03-29T00:30:00Z","lastRunAt":null,"latencyMs":null,"message":"",` +
		`"sources":[{"sourceId":"","name":"local","status":"healthy","since":"2026-03-29T00:30:00Z","lastStatus":"degraded",` +
		`"lastRunAt":"2026-03-29T00:30:00Z","latencyMs":7,"message":"m","error":{"message":"e","since":"2026-03-29T00:30:00Z","runs":3}},` +
		`{"sourceId":"b","name":"b","status":"unknown","since":null,"lastStatus":"unknown","lastRunAt":null,"latencyMs":null,"message":"","error":null}]}`
	if got, want := status(), `{"systemId":"s","status":"healthy","since":"2026-03-29T00:30:00Z","checks":[`+first+`]}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	give(t, db, "s", d, "b")
	commit(t, db, func(ctx context.Context, tx *sql.Tx) error { return h.RemoveSource(ctx, tx, "b") })
	execute(t, db, `update healthcheck.assignments set since = $1 where configuration_id = $2`, start, d)
	want := `,{"configurationId":"` + d + `","name":"o","type":"test","status":"unknown","since":"2026-03-29T00:30:00Z",` +
		`"lastRunAt":null,"latencyMs":null,"message":"","sources":[]}]}`
	if got := status(); len(got) < len(want) || got[len(got)-len(want):] != want {
		t.Errorf("got %s\nwant … %s", got, want)
	}
}
