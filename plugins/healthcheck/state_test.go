package healthcheck

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"checkstack/plugins"
)

func TestASystemIsAsBadAsTheWorstOfItsChecks(t *testing.T) {
	at := func(minute int) *time.Time { return new(start.Add(time.Duration(minute) * time.Minute)) }
	is := func(status plugins.Status, minute int) CheckStatus {
		if status == unknown {
			return CheckStatus{Status: unknown}
		}
		return CheckStatus{Status: status, since: at(minute)}
	}
	for _, test := range []struct {
		name   string
		checks []CheckStatus
		status plugins.Status
		since  *time.Time
	}{
		{"nothing is checked", nil, unknown, nil},
		{"nothing has run", []CheckStatus{is(unknown, 0)}, unknown, nil},
		{"all are well, the last since 3", []CheckStatus{is(plugins.Healthy, 1), is(plugins.Healthy, 3), is(plugins.Healthy, 2)}, plugins.Healthy, at(3)},
		{"one has not run", []CheckStatus{is(plugins.Healthy, 1), is(unknown, 0)}, unknown, nil},
		{"one is slow", []CheckStatus{is(plugins.Healthy, 5), is(unknown, 0), is(plugins.Degraded, 4)}, plugins.Degraded, at(4)},
		{"two are down, the first since 2", []CheckStatus{is(plugins.Degraded, 1), is(plugins.Unhealthy, 3), is(plugins.Unhealthy, 2), is(plugins.Healthy, 9)},
			plugins.Unhealthy, at(2)},
	} {
		got := summarize("s", test.checks)
		same := got.Since == test.since || got.Since != nil && test.since != nil && got.Since.Equal(*test.since)
		if got.SystemID != "s" || got.Status != test.status || !same || len(got.Checks) != len(test.checks) {
			t.Errorf("%s: got %+v, want %s since %v", test.name, got, test.status, test.since)
		}
	}
}

func TestACheckIsAsBadAsTheWorstOfItsSlices(t *testing.T) {
	at := func(minute int) *time.Time { return new(start.Add(time.Duration(minute) * time.Minute)) }
	seen := func(source string, status plugins.Status, since, last int) slice {
		s := slice{configurationID: "c", check: "n", SourceStatus: SourceStatus{SourceID: source, Status: status, LastRunAt: at(last), LatencyMs: new(int32(last)), Message: source, since: at(since)}}
		if status == unknown {
			s.LatencyMs, s.since = nil, nil
		}
		return s
	}
	fresh := slice{configurationID: "c", check: "n", SourceStatus: SourceStatus{SourceID: "fresh", Status: unknown}}
	for _, test := range []struct {
		name    string
		slices  []slice
		status  plugins.Status
		decides string     // the source whose message it is
		since   *time.Time // of the check
		last    *time.Time
	}{
		{"no source", []slice{{configurationID: "c", check: "n", none: true}}, unknown, "", nil, nil},
		{"one", []slice{seen("a", plugins.Degraded, 1, 2)}, plugins.Degraded, "a", at(1), at(2)},
		{"one that has not run", []slice{fresh}, unknown, "", nil, nil},
		{"all are well", []slice{seen("a", plugins.Healthy, 1, 7), seen("b", plugins.Healthy, 3, 8), seen("c", plugins.Healthy, 2, 6)},
			plugins.Healthy, "b", at(3), at(8)},
		{"one has not run", []slice{seen("a", plugins.Healthy, 1, 7), fresh}, unknown, "", nil, nil},
		{"one is away", []slice{seen("a", plugins.Healthy, 1, 7), seen("b", unknown, 1, 3), fresh}, unknown, "b", nil, at(3)},
		{"one is away, another sees a failure", []slice{seen("a", unknown, 1, 9), seen("b", plugins.Unhealthy, 2, 4)}, plugins.Unhealthy, "b", at(2), at(4)},
		{"two see a failure, the first since 2", []slice{seen("a", plugins.Unhealthy, 5, 9), seen("b", plugins.Unhealthy, 2, 8), seen("c", plugins.Healthy, 1, 10)},
			plugins.Unhealthy, "a", at(2), at(9)},
	} {
		all := gatherSlices(append(test.slices, slice{configurationID: "d", check: "another", none: true}))
		if len(all) != 2 || all[1].ConfigurationID != "d" {
			t.Fatalf("%s: got %+v", test.name, all)
		}
		c := all[0]
		same := func(a, b *time.Time) bool { return a == b || a != nil && b != nil && a.Equal(*b) }
		if c.Status != test.status || c.Message != test.decides || !same(c.since, test.since) || !same(c.LastRunAt, test.last) {
			t.Errorf("%s: got %+v since %v", test.name, c, c.since)
		}
		if c.LatencyMs != nil && (c.Status == unknown || *c.LatencyMs != int32(c.LastRunAt.Sub(start).Minutes())) {
			t.Errorf("%s: latency %d", test.name, *c.LatencyMs)
		}
		if n := len(c.Sources); n != len(test.slices) && !test.slices[0].none {
			t.Errorf("%s: %d sources", test.name, n)
		}
	}
}

func TestASliceIsUnknownWhileNobodyKnowsHowItIs(t *testing.T) {
	db := database(t)
	h := plugin(t, db)
	h.add(t, "east", "west")
	id := configure(t, db, "test", 100*time.Second, 2*time.Second, start)
	give(t, db, "a", id, "east", "west", local)
	ran := func(source string, ago time.Duration) {
		execute(t, db, `insert into healthcheck.states (system_id, configuration_id, source_id, status, since, last_run_at, latency_ms, message, run_id)
			values ('a', $1, $2, 'healthy', '2026-01-01Z', now() - make_interval(secs => $3), 5, 'fine', gen_random_uuid())
			on conflict (system_id, configuration_id, source_id) do update set last_run_at = excluded.last_run_at`, id, source, ago.Seconds())
	}
	offline := func(source string, since *time.Time) {
		commit(t, db, func(ctx context.Context, tx *sql.Tx) error { return h.SetSourceOffline(ctx, tx, source, since) })
	}
	for i, step := range []struct {
		do   func()
		want string
	}{
		{func() {}, "unknown: [ unknown ''] [east unknown ''] [west unknown '']"},
		{func() { ran("", time.Hour) }, "unknown: [ healthy 'fine'] [east unknown ''] [west unknown '']"}, // this server is never away
		{func() { ran("east", 0); ran("west", 290*time.Second) }, "healthy: [ healthy 'fine'] [east healthy 'fine'] [west healthy 'fine']"},
		{func() { ran("west", 303*time.Second) },
			"unknown: [ healthy 'fine'] [east healthy 'fine'] [west unknown 'the source has not reported for more than three intervals']"},
		{func() { offline("east", &start); ran("west", 0) }, "unknown: [ healthy 'fine'] [east unknown 'the source is offline'] [west healthy 'fine']"},
		{func() { ran("east", time.Hour) }, "unknown: [ healthy 'fine'] [east unknown 'the source is offline'] [west healthy 'fine']"},
		{func() { ran("east", 0); offline("east", nil) }, "healthy: [ healthy 'fine'] [east healthy 'fine'] [west healthy 'fine']"},
		{func() {
			execute(t, db, `update healthcheck.states set status = 'unhealthy' where source_id = 'east'`)
			offline("east", &start)
		},
			"unknown: [ healthy 'fine'] [east unknown 'the source is offline'] [west healthy 'fine']"},
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
		got, err := readStatus(t.Context(), db, "a")
		if err != nil || len(got.Checks) != 1 || got.Status != got.Checks[0].Status || (got.Since == nil) != (got.Status == unknown) {
			t.Fatalf("step %d: %+v, %v", i, got, err)
		}
		line := string(got.Status) + ":"
		for _, s := range got.Checks[0].Sources {
			line += fmt.Sprintf(" [%s %s '%s']", s.SourceID, s.Status, s.Message)
			if (s.LatencyMs == nil) != (s.Status == unknown) {
				t.Errorf("step %d: a latency of %v", i, s.LatencyMs)
			}
		}
		if line != step.want {
			t.Errorf("step %d: got  %s\nwant %s", i, line, step.want)
		}
	}
}

func TestTheStatusOfASystemHasItsForm(t *testing.T) {
	checks := []CheckStatus{
		{ConfigurationID: "c", Name: "n", Status: plugins.Healthy, LastRunAt: &start, LatencyMs: new(int32(7)), Message: "m", since: &start,
			Sources: []SourceStatus{
				{Name: "local", Status: plugins.Healthy, LastRunAt: &start, LatencyMs: new(int32(7)), Message: "m"},
				{SourceID: "b", Name: "Berlin", Status: unknown},
			}},
		{ConfigurationID: "d", Name: "o", Status: unknown, Sources: []SourceStatus{}},
	}
	for _, test := range []struct {
		checks []CheckStatus
		want   string
	}{
		{[]CheckStatus{}, `{"systemId":"s","status":"unknown","since":null,"checks":[]}`},
		{checks[:1], `{"systemId":"s","status":"healthy","since":"2026-03-29T00:30:00Z","checks":[{"configurationId":"c","name":"n","status":"healthy",` +
			`"lastRunAt":"2026-03-29T00:30:00Z","latencyMs":7,"message":"m",` +
			`"sources":[{"sourceId":"","name":"local","status":"healthy","lastRunAt":"2026-03-29T00:30:00Z","latencyMs":7,"message":"m"},` +
			`{"sourceId":"b","name":"Berlin","status":"unknown","lastRunAt":null,"latencyMs":null,"message":""}]}]}`},
		{checks[1:], `{"systemId":"s","status":"unknown","since":null,"checks":[{"configurationId":"d","name":"o","status":"unknown",` +
			`"lastRunAt":null,"latencyMs":null,"message":"","sources":[]}]}`},
	} {
		if got, err := json.Marshal(summarize("s", test.checks)); err != nil || string(got) != test.want {
			t.Errorf("got %s, %v\nwant %s", got, err, test.want)
		}
	}
}
