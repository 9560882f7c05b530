package healthcheck

import (
	"encoding/json"
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

func TestTheStatusOfASystemHasItsForm(t *testing.T) {
	checks := []CheckStatus{
		{ConfigurationID: "c", Name: "n", Status: plugins.Healthy, LastRunAt: &start, LatencyMs: new(int32(7)), Message: "m", since: &start},
		{ConfigurationID: "d", Name: "o", Status: unknown},
	}
	for _, test := range []struct {
		checks []CheckStatus
		want   string
	}{
		{nil, `{"systemId":"s","status":"unknown","since":null,"checks":[]}`},
		{checks[:1], `{"systemId":"s","status":"healthy","since":"2026-03-29T00:30:00Z","checks":[{"configurationId":"c","name":"n","status":"healthy",` +
			`"lastRunAt":"2026-03-29T00:30:00Z","latencyMs":7,"message":"m"}]}`},
		{checks[1:], `{"systemId":"s","status":"unknown","since":null,"checks":[{"configurationId":"d","name":"o","status":"unknown",` +
			`"lastRunAt":null,"latencyMs":null,"message":""}]}`},
	} {
		if got, err := json.Marshal(summarize("s", test.checks)); err != nil || string(got) != test.want {
			t.Errorf("got %s, %v\nwant %s", got, err, test.want)
		}
	}
}
