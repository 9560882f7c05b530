package wire_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/satellite/wire"
)

const id = "0191d0a4-7c00-4000-8000-000000000001"

// A satellite and its server may be of different versions, so the names are a promise.
func TestEachMessageHasExactlyTheseFields(t *testing.T) {
	at := time.Date(2026, 1, 31, 23, 59, 59, 123456000, time.UTC)
	run := wire.Run{RunID: id, ConfigurationID: "c", SystemID: "s", Status: plugins.Healthy, LatencyMs: new(int32(12)),
		Message: "ok", Result: json.RawMessage(`{"status":200}`), ExecutedAt: at}
	for _, test := range []struct {
		message any
		want    string
	}{
		{wire.Assignments{Satellite: id, Checks: []wire.Check{{SystemID: "s", ConfigurationID: "c", Name: "n", Type: "http",
			Config: json.RawMessage(`{"url":"http://x"}`), IntervalSeconds: 60, TimeoutMs: 5000}}},
			`{"satellite":"` + id + `","checks":[{"systemId":"s","configurationId":"c","name":"n","type":"http",` +
				`"config":{"url":"http://x"},"intervalSeconds":60,"timeoutMs":5000}]}`},
		{wire.Batch{Batch: new(int64(7)), Journal: id, Runs: []wire.Run{run}},
			`{"batch":7,"journal":"` + id + `","runs":[{"runId":"` + id + `","configurationId":"c","systemId":"s","status":"healthy",` +
				`"latencyMs":12,"message":"ok","result":{"status":200},"executedAt":"2026-01-31T23:59:59.123456Z"}]}`},
		{wire.Batch{Runs: []wire.Run{{ExecutedAt: at}}},
			`{"runs":[{"runId":"","configurationId":"","systemId":"","status":"","latencyMs":null,"message":"","executedAt":"2026-01-31T23:59:59.123456Z"}]}`},
		{wire.Answer{Stored: 1, Known: 2, Refused: []plugins.Refusal{{RunID: id, Reason: "r"}}},
			`{"stored":1,"known":2,"refused":[{"runId":"` + id + `","reason":"r"}]}`},
		{wire.Heartbeat{Version: "v", StartedAt: at, SentAt: at, Checks: 1, PendingRuns: 2, PendingBytes: 3, Dropped: 4},
			`{"version":"v","startedAt":"2026-01-31T23:59:59.123456Z","sentAt":"2026-01-31T23:59:59.123456Z","checks":1,` +
				`"pendingRuns":2,"pendingBytes":3,"dropped":4}`},
		{wire.HeartbeatAnswer{ServerTime: at, SkewMs: -5}, `{"serverTime":"2026-01-31T23:59:59.123456Z","skewMs":-5}`},
	} {
		got, err := json.Marshal(test.message)
		if err != nil || string(got) != test.want {
			t.Errorf("%T is\n%s, %v\nwant\n%s", test.message, got, err, test.want)
		}
		back := reflect.New(reflect.TypeOf(test.message))
		if err := plugins.Decode(got, back.Interface()); err != nil || !reflect.DeepEqual(back.Elem().Interface(), test.message) {
			t.Errorf("%s reads as %+v, %v", got, back.Elem(), err)
		}
	}
	if back := wire.RunOf(run.From("satellite")); !reflect.DeepEqual(back, run) {
		t.Errorf("a run and back: %+v", back)
	}
	if run.From("satellite").SourceID != "satellite" {
		t.Error("the run of a satellite does not say where it was made")
	}
}

func TestAMessageThatIsNotAsItMustBeNamesTheField(t *testing.T) {
	runs := []wire.Run{}
	good := wire.Heartbeat{Version: "v", SentAt: time.Unix(0, 0)}
	heart := func(change func(*wire.Heartbeat)) *wire.Heartbeat {
		h := good
		change(&h)
		return &h
	}
	for _, test := range []struct {
		message interface{ Validate() error }
		want    string
	}{
		{&wire.Batch{Runs: runs}, ""},
		{&wire.Batch{Runs: make([]wire.Run, 5000)}, ""},
		{&wire.Batch{Batch: new(int64(1)), Runs: runs}, ""},
		{&wire.Batch{Batch: new(int64(1)), Journal: id, Runs: runs}, ""},
		{&wire.Batch{Batch: new(int64(0)), Runs: runs}, "batch: expected a whole number from 1, not 0"},
		{&wire.Batch{Journal: id, Runs: runs}, "journal: expected a journal only together with a batch, which is a number of it"},
		{&wire.Batch{Batch: new(int64(1)), Journal: strings.ToUpper(id), Runs: runs}, "journal: expected a UUID, in lower case"},
		{&wire.Batch{}, "runs: expected an array of runs"},
		{&wire.Batch{Runs: make([]wire.Run, 5001)}, "runs: expected at most 5000 runs, not 5001"},
		{&good, ""},
		{heart(func(h *wire.Heartbeat) { h.Version = "a\x00" }), "version: expected a text without the character U+0000"},
		{heart(func(h *wire.Heartbeat) { h.Checks = -1 }), "checks: expected a whole number from 0, not -1"},
		{heart(func(h *wire.Heartbeat) { h.PendingRuns = -1 }), "pendingRuns: expected a whole number from 0, not -1"},
		{heart(func(h *wire.Heartbeat) { h.PendingBytes = -1 }), "pendingBytes: expected a whole number from 0, not -1"},
		{heart(func(h *wire.Heartbeat) { h.Dropped = -1 }), "dropped: expected a whole number from 0, not -1"},
		{heart(func(h *wire.Heartbeat) { h.SentAt = time.Time{} }), "sentAt: expected the time by the satellite's clock, RFC 3339"},
	} {
		got := ""
		if e, ok := test.message.Validate().(*plugins.Error); ok {
			got = e.Field + ": " + e.Message
		}
		if got != test.want {
			t.Errorf("%+v: got %q, want %q", test.message, got, test.want)
		}
	}
}
