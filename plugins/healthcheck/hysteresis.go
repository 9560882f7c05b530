// Hysteresis: what the runs of a slice make of its status. One bad run is no outage and one good run no recovery, unless the
// thresholds of the check say so. A run has a level: 0 healthy, 1 degraded, 2 unhealthy.
//
//	worse    to level L, once as many runs of level L or above came as degraded or unhealthy asks for:
//	         one after the other (consecutive), or among the last windowSize (window)
//	better   to level L, once what speaks for a worse level no longer does, and the last minSuccessCount runs were all of
//	         level L or below
//
// Between the two nothing changes, and before the first of them the status is unknown. The hard case is a target that is
// down every other time. Consecutively it never fails twice, so it is healthy; in a window it is degraded and stays so,
// because a window that is full of failures does not forget them with one good run.
//
// The memory of a slice is its last 64 runs as bits, so a step reads nothing back, and changed thresholds apply to what is
// remembered from the next run on.

package healthcheck

import (
	"encoding/json"
	"math/bits"
	"time"

	"checkstack/plugins"
)

// maxThreshold is the greatest number of runs that a threshold can look at.
const maxThreshold = 64

// Thresholds say how many runs change the status of a slice.
type Thresholds struct {
	Mode       string          `json:"mode"`                 // "consecutive" or "window"
	WindowSize int             `json:"windowSize,omitempty"` // of mode window: 1 to 64 runs
	Healthy    HealthyCount    `json:"healthy,omitzero"`     // by default 1
	Degraded   UnhealthyCounts `json:"degraded"`             // of runs that were degraded or unhealthy
	Unhealthy  UnhealthyCounts `json:"unhealthy"`            // of runs that were unhealthy
}

// HealthyCount is how many runs, one after the other, make a status better.
type HealthyCount struct {
	MinSuccessCount int `json:"minSuccessCount"` // 1 to 64
}

// UnhealthyCounts is how many runs make a status worse.
type UnhealthyCounts struct {
	MinFailureCount int `json:"minFailureCount"` // 1 to 64; in mode window at most windowSize
}

// defaultThresholds are those of a check that has none of its own.
func defaultThresholds() Thresholds {
	return Thresholds{Mode: "consecutive", Healthy: HealthyCount{1}, Degraded: UnhealthyCounts{2}, Unhealthy: UnhealthyCounts{5}}
}

// DefaultThresholds are those of a new assignment of a configuration of a type: 2 failures in a row degrade and 5 are an outage; of a
// heartbeat, which may be due once a day, 1 is.
func DefaultThresholds(kind string) Thresholds {
	t := defaultThresholds()
	if kind == heartbeat {
		t.Degraded.MinFailureCount, t.Unhealthy.MinFailureCount = 1, 1
	}
	return t
}

// complete fills in what may be left out, and checks the ranges. Errors name fields below "thresholds".
func (t *Thresholds) complete() error {
	def := defaultThresholds()
	most := maxThreshold
	switch t.Mode {
	case "consecutive":
		if t.WindowSize != 0 {
			return plugins.Invalid("thresholds.windowSize", "expected none with the mode consecutive")
		}
	case "window":
		if t.WindowSize == 0 {
			t.WindowSize = 10
		}
		if t.WindowSize < 1 || t.WindowSize > maxThreshold {
			return plugins.Invalid("thresholds.windowSize", "expected a whole number from 1 to %d, not %d", maxThreshold, t.WindowSize)
		}
		def.Degraded.MinFailureCount, def.Unhealthy.MinFailureCount = min(3, t.WindowSize), min(7, t.WindowSize)
		most = t.WindowSize
	default:
		return plugins.Invalid("thresholds.mode", "expected consecutive or window")
	}
	for _, f := range []struct {
		name       string
		count      *int
		def, limit int
	}{
		{"healthy.minSuccessCount", &t.Healthy.MinSuccessCount, def.Healthy.MinSuccessCount, maxThreshold},
		{"degraded.minFailureCount", &t.Degraded.MinFailureCount, def.Degraded.MinFailureCount, most},
		{"unhealthy.minFailureCount", &t.Unhealthy.MinFailureCount, def.Unhealthy.MinFailureCount, most},
	} {
		if *f.count == 0 {
			*f.count = f.def
		}
		if *f.count < 1 || *f.count > f.limit {
			return plugins.Invalid("thresholds."+f.name, "expected a whole number from 1 to %d, not %d", f.limit, *f.count)
		}
	}
	return nil
}

// parseThresholds reads what was stored; nothing is the default.
func parseThresholds(data []byte) (Thresholds, error) {
	if len(data) == 0 {
		return defaultThresholds(), nil
	}
	var t Thresholds
	err := json.Unmarshal(data, &t)
	return t, err
}

// memory is what is known of a slice. The zero value is one that has never run.
type memory struct {
	status plugins.Status // unknown, healthy, degraded or unhealthy
	since  time.Time      // when it became so: when the run ended that made it so
	last   time.Time      // when the newest run ended; zero before the first

	seen         int    // runs that are remembered, at most 64
	failed, down uint64 // the runs that were not healthy, and those that were unhealthy; the newest in the lowest bit

	stale bool // there was no result for three intervals
}

// effective is the status as everybody sees it.
func (m *memory) effective() plugins.Status {
	switch {
	case m.stale:
		return stale
	case m.status == "":
		return unknown
	}
	return m.status
}

// step takes in a run that ended at a time, which must not be before the last one.
func (m *memory) step(run plugins.Status, at time.Time, t *Thresholds) {
	m.seen = min(m.seen+1, maxThreshold)
	m.failed, m.down = m.failed<<1, m.down<<1
	switch run {
	case plugins.Degraded:
		m.failed |= 1
	case plugins.Unhealthy:
		m.failed |= 1
		m.down |= 1
	}
	next := m.next(t)
	if next != m.status || m.stale {
		m.status, m.since = next, at
	}
	m.last, m.stale = at, false
}

// next is the status that the runs make of the present one.
func (m *memory) next(t *Thresholds) plugins.Status {
	floor := plugins.Healthy // what the failures ask for
	switch {
	case t.failures(m.down, m.seen) >= t.Unhealthy.MinFailureCount:
		floor = plugins.Unhealthy
	case t.failures(m.failed, m.seen) >= t.Degraded.MinFailureCount:
		floor = plugins.Degraded
	}
	now := m.status
	if now == "" {
		now = unknown
	}
	if floor == plugins.Unhealthy || floor == plugins.Degraded && now != plugins.Unhealthy {
		return floor
	}
	good := min(bits.TrailingZeros64(m.failed), m.seen) // healthy runs, one after the other
	fair := min(bits.TrailingZeros64(m.down), m.seen)   // runs that were not unhealthy
	switch need := t.Healthy.MinSuccessCount; {
	case floor == plugins.Healthy && good >= need:
		return plugins.Healthy
	case now == plugins.Unhealthy && fair >= need:
		return plugins.Degraded
	}
	return now
}

// failures counts the runs that speak for a worse status.
func (t *Thresholds) failures(runs uint64, seen int) int {
	if t.Mode == "window" {
		return bits.OnesCount64(runs & (1<<min(t.WindowSize, seen) - 1))
	}
	return min(bits.TrailingZeros64(^runs), seen)
}
