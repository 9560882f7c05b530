package healthcheck

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
)

// oracle is what the thresholds mean, by counting in the whole list of runs again and again.
func oracle(runs []plugins.Status, t Thresholds) plugins.Status {
	status := unknown
	for n := 1; n <= len(runs); n++ {
		seen := runs[max(0, n-maxThreshold):n]
		row := func(is func(plugins.Status) bool) (count int) { // at the end, one after the other
			for _, r := range slices.Backward(seen) {
				if !is(r) {
					break
				}
				count++
			}
			return count
		}
		failures := func(is func(plugins.Status) bool) (count int) {
			if t.Mode == "consecutive" {
				return row(is)
			}
			for _, r := range seen[max(0, len(seen)-t.WindowSize):] {
				if is(r) {
					count++
				}
			}
			return count
		}
		down := func(r plugins.Status) bool { return r == plugins.Unhealthy }
		failed := func(r plugins.Status) bool { return r != plugins.Healthy }
		good := func(r plugins.Status) bool { return r == plugins.Healthy }
		fair := func(r plugins.Status) bool { return r != plugins.Unhealthy }
		isDown, isFailed := failures(down) >= t.Unhealthy.MinFailureCount, failures(failed) >= t.Degraded.MinFailureCount
		switch {
		case isDown:
			status = plugins.Unhealthy
		case isFailed && status != plugins.Unhealthy:
			status = plugins.Degraded
		case !isFailed && row(good) >= t.Healthy.MinSuccessCount:
			status = plugins.Healthy
		case status == plugins.Unhealthy && row(fair) >= t.Healthy.MinSuccessCount:
			status = plugins.Degraded
		}
	}
	return status
}

func TestTheStatusIsWhatCountingAllRunsAgainSays(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	results := []plugins.Status{plugins.Healthy, plugins.Degraded, plugins.Unhealthy}
	changes := 0
	for range 3000 {
		th := Thresholds{Mode: "consecutive", Healthy: HealthyCount{1 + r.IntN(4)},
			Degraded: UnhealthyCounts{1 + r.IntN(6)}, Unhealthy: UnhealthyCounts{1 + r.IntN(8)}}
		if r.IntN(2) == 0 {
			th.Mode, th.WindowSize = "window", 1+r.IntN(64)
			th.Degraded.MinFailureCount = 1 + r.IntN(th.WindowSize)
			th.Unhealthy.MinFailureCount = 1 + r.IntN(th.WindowSize)
		}
		bias := r.Float64()
		var m memory
		var runs []plugins.Status
		at := start
		for range 100 {
			run := results[0]
			if r.Float64() < bias {
				run = results[r.IntN(3)]
			}
			runs = append(runs, run)
			at = at.Add(time.Minute)
			before := m.effective()
			m.step(run, at, &th)
			if want := oracle(runs, th); m.effective() != want {
				t.Fatalf("%+v makes %s of %v, want %s", th, m.effective(), runs, want)
			}
			if changed := m.effective() != before; changed {
				changes++
				if !m.since.Equal(at) {
					t.Fatalf("since %s, want %s", m.since, at)
				}
			}
		}
	}
	if changes < 10_000 {
		t.Errorf("only %d changes were seen", changes)
	}
}

// statusesOf is what a list of runs, h, d and u, makes of a slice after each of them: "?hdu".
func statusesOf(t Thresholds, runs string) string {
	var m memory
	var all strings.Builder
	for i, r := range runs {
		m.step(map[rune]plugins.Status{'h': plugins.Healthy, 'd': plugins.Degraded, 'u': plugins.Unhealthy}[r], start.Add(time.Duration(i+1)*time.Second), &t)
		all.WriteString(map[plugins.Status]string{unknown: "?", plugins.Healthy: "h", plugins.Degraded: "d", plugins.Unhealthy: "u"}[m.effective()])
	}
	return all.String()
}

func TestThresholdsHoldAStatusInBothDirections(t *testing.T) {
	window := Thresholds{Mode: "window"}
	patient := Thresholds{Mode: "consecutive", Healthy: HealthyCount{3}}
	for _, th := range []*Thresholds{&window, &patient} {
		if err := th.complete(); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name       string
		thresholds Thresholds
		runs, want string
	}{
		{"the default is degraded after 2 and unhealthy after 5", defaultThresholds(), "huuuuuuh", "hhddduuh"},
		{"one bad run is no outage", defaultThresholds(), "huhuhuh", "hhhhhhh"},
		{"degraded runs alone never make it unhealthy", defaultThresholds(), "hddddddd", "hhdddddd"},
		{"a recovery may be degraded", defaultThresholds(), "uuuuudh", "?dddudh"},
		{"nobody knows before a threshold is reached", defaultThresholds(), "uh", "?h"},
		{"three successes are asked for", patient, "uuuuuhhuhhh", "?ddduuuuuuh"},
		{"a window does not forget with one good run", window, "hhhuuuhhhhhhhh", "hhhhhddddddddh"},
	} {
		if got := statusesOf(test.thresholds, test.runs); got != test.want {
			t.Errorf("%s: %s makes %s, want %s", test.name, test.runs, got, test.want)
		}
	}
}

func TestThresholdsAreCompletedAndBounded(t *testing.T) {
	for _, test := range []struct{ given, want string }{
		{`{"mode":"consecutive"}`, `{"mode":"consecutive","healthy":{"minSuccessCount":1},"degraded":{"minFailureCount":2},"unhealthy":{"minFailureCount":5}}`},
		{`{"mode":"window"}`, `{"mode":"window","windowSize":10,"healthy":{"minSuccessCount":1},"degraded":{"minFailureCount":3},"unhealthy":{"minFailureCount":7}}`},
		{`{"mode":"window","windowSize":2}`, `{"mode":"window","windowSize":2,"healthy":{"minSuccessCount":1},"degraded":{"minFailureCount":2},"unhealthy":{"minFailureCount":2}}`},
		{`{"mode":"sometimes"}`, "thresholds.mode: expected consecutive or window"},
		{`{"mode":"consecutive","windowSize":3}`, "thresholds.windowSize: expected none with the mode consecutive"},
		{`{"mode":"window","windowSize":65}`, "thresholds.windowSize: expected a whole number from 1 to 64, not 65"},
		{`{"mode":"window","windowSize":5,"degraded":{"minFailureCount":6}}`, "thresholds.degraded.minFailureCount: expected a whole number from 1 to 5, not 6"},
		{`{"mode":"consecutive","healthy":{"minSuccessCount":-1}}`, "thresholds.healthy.minSuccessCount: expected a whole number from 1 to 64, not -1"},
	} {
		var th Thresholds
		if err := json.Unmarshal([]byte(test.given), &th); err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := th.complete(); err != nil {
			got = err.(*plugins.Error).Field + ": " + err.(*plugins.Error).Message
		} else {
			text, err := json.Marshal(th)
			if err != nil {
				t.Fatal(err)
			}
			got = string(text)
		}
		if got != test.want {
			t.Errorf("%s: got %s, want %s", test.given, got, test.want)
		}
	}
}

func TestAQuorumOfSourcesMustAgree(t *testing.T) {
	h, d, u := plugins.Healthy, plugins.Degraded, plugins.Unhealthy
	for i, test := range []struct {
		all    []plugins.Status
		quorum int
		want   plugins.Status
	}{
		{nil, 1, unknown}, {[]plugins.Status{h, u, h}, 1, u}, {[]plugins.Status{h, u, h}, 2, h}, {[]plugins.Status{u, d, h}, 2, d},
		{[]plugins.Status{u, u, h}, 2, u}, {[]plugins.Status{u, unknown, h}, 2, unknown}, {[]plugins.Status{stale, unknown}, 1, stale},
		{[]plugins.Status{u}, 3, u}, {[]plugins.Status{h, h, h}, 3, h}, {[]plugins.Status{u, stale, h}, 2, stale},
	} {
		if got := combine(test.all, &test.quorum); got != test.want {
			t.Errorf("%d: %v with a quorum of %d is %s, want %s", i, test.all, test.quorum, got, test.want)
		}
	}
	if got := combine([]plugins.Status{h, d, h}, nil); got != d {
		t.Errorf("without a quorum it is %s, want the worst", got)
	}
}
