// The scheduler: each check has a goroutine that sleeps until its slot, waits for a free place, makes the run, and looks for the
// next slot after that. So a check cannot overlap with itself, and slots that passed meanwhile are not made up.
//
// The slots of a check are as far from each other as its interval says, and where they begin is decided by a hash of its key.
// A thousand checks of one minute are so spread over the minute, and a check keeps its rhythm over restarts. The clock counts, as it
// is shown, and not the time a process has run: a machine that slept goes on with the next slot.

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"hash/fnv"
	"log/slog"
	"slices"
	"sync"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck"
	"checkstack/plugins/satellite/wire"
)

const (
	maxChecks = 10_000           // of one satellite
	soon      = 10 * time.Second // within which a check that is new is made for the first time
	maxSleep  = time.Minute      // until the clock is looked at again
	maxLate   = 30 * time.Second // that a run waits for a place before that is logged
)

// key is which check of which system.
type key struct{ system, configuration string }

// scheduler runs checks.
type scheduler struct {
	types  checkTypes
	log    *slog.Logger
	out    func(plugins.Run)
	places chan struct{} // an element for each run that is under way

	ctx  context.Context
	work sync.WaitGroup

	mu     sync.Mutex
	known  bool // whether there was a list of checks
	active int
	checks map[key]*scheduled
	late   time.Time // when it was last logged that no place is free
}

// scheduled is a check with its goroutine.
type scheduled struct {
	wire.Check
	cancel context.CancelFunc // nil once it was called
	done   chan struct{}
}

func newScheduler(types checkTypes, log *slog.Logger, places int, out func(plugins.Run)) *scheduler {
	return &scheduler{types: types, log: log, out: out, places: make(chan struct{}, places), checks: make(map[key]*scheduled)}
}

// begin lets set start checks, which run until ctx ends.
func (s *scheduler) begin(ctx context.Context) { s.ctx = ctx }

// end waits until all runs have ended. The context has ended, and set is not called any more.
func (s *scheduler) end() { s.work.Wait() }

// size is how many checks are run at intervals.
func (s *scheduler) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.active
}

// ready reports whether there was a list of checks, if only an empty one.
func (s *scheduler) ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known
}

// set replaces the list of checks. One that is as it was goes on undisturbed; the run of one that is gone or has changed is
// given up. If now is true those that are new are made soon, otherwise in their next slot.
func (s *scheduler) set(checks []wire.Check, now bool) {
	checks = s.usable(checks)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return
	}
	s.known, s.active = true, len(checks)
	wanted := make(map[key]wire.Check, len(checks))
	for _, c := range checks {
		wanted[keyOf(c)] = c
	}
	for k, have := range s.checks {
		if c, ok := wanted[k]; (!ok || !same(c, have.Check)) && have.cancel != nil {
			have.cancel()
			have.cancel = nil
		}
	}
	for _, c := range checks {
		k := keyOf(c)
		have := s.checks[k]
		if have != nil && have.cancel != nil {
			continue
		}
		ctx, cancel := context.WithCancel(s.ctx)
		next := &scheduled{Check: c, cancel: cancel, done: make(chan struct{})}
		s.checks[k] = next
		first := slot(c, time.Now())
		if now && time.Until(first) > soon {
			first = time.Now().Add(phase(c) % soon)
		}
		s.work.Go(func() {
			defer s.forget(k, next)
			defer cancel()
			if have != nil {
				<-have.done
			}
			s.watch(ctx, c, first)
		})
	}
}

// forget ends a goroutine of a check.
func (s *scheduler) forget(k key, c *scheduled) {
	close(c.done)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.checks[k] == c {
		delete(s.checks, k)
	}
}

// usable leaves out the checks that cannot be run here, and says so.
func (s *scheduler) usable(checks []wire.Check) []wire.Check {
	types := s.types.Names()
	var usable []wire.Check
	seen := make(map[key]bool, len(checks))
	for _, c := range checks {
		reason := ""
		switch {
		case !slices.Contains(types, c.Type):
			reason = "this version of the satellite does not have its type " + c.Type
		case c.IntervalSeconds < 1 || c.TimeoutMs < 1:
			reason = "its interval or its timeout is not positive"
		case seen[keyOf(c)]:
			reason = "it is assigned twice"
		case len(usable) == maxChecks:
			s.log.Error("there are too many checks for one satellite; those beyond are left out", "checks", len(checks), "most", maxChecks)
			return usable
		default:
			seen[keyOf(c)] = true
			usable = append(usable, c)
			continue
		}
		s.log.Warn("a check is left out", "reason", reason, "system", c.SystemID, "configuration", c.ConfigurationID, "name", c.Name)
	}
	return usable
}

// watch makes the runs of one check until ctx ends.
func (s *scheduler) watch(ctx context.Context, c wire.Check, next time.Time) {
	failing := "" // why the last run could not be made, so that it is said once
	for {
		for left := time.Until(next); left > 0 && ctx.Err() == nil; left = time.Until(next) {
			pause(ctx, min(left, maxSleep), nil)
		}
		if !s.enter(ctx) {
			return
		}
		run, err := s.types.Run(ctx, healthcheck.SourceCheck(c))
		<-s.places
		switch {
		case ctx.Err() != nil: // it was cut short, whatever it says
			return
		case err == nil:
			failing = ""
			s.out(run)
		case errors.Is(err, healthcheck.ErrNoType):
			return
		case err.Error() != failing:
			failing = err.Error()
			s.log.Error("a check could not be made", "system", c.SystemID, "configuration", c.ConfigurationID, "error", err)
		}
		next = slot(c, time.Now())
	}
}

// enter waits for a place. It is false if ctx ended before.
func (s *scheduler) enter(ctx context.Context) bool {
	if ctx.Err() != nil {
		return false
	}
	select {
	case s.places <- struct{}{}:
		return true
	default:
	}
	began := time.Now()
	select {
	case s.places <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if waited := time.Since(began); waited > maxLate && time.Since(s.late) > sayAgain {
		s.late = time.Now()
		s.log.Warn("checks are late, as many as may run at once are running", "most", cap(s.places), "late", waited.Round(time.Second))
	}
	return true
}

// slot is the first slot of a check after a time.
func slot(c wire.Check, after time.Time) time.Time {
	interval := int64(c.IntervalSeconds) * 1000
	now := after.UnixMilli()
	left := (phase(c).Milliseconds() - now%interval + interval) % interval
	if left == 0 {
		left = interval
	}
	return time.UnixMilli(now + left)
}

// phase is where in its interval a check has its slots: from 0 to less than the interval, in whole milliseconds.
func phase(c wire.Check) time.Duration {
	h := fnv.New64a()
	h.Write([]byte(c.SystemID + "\x00" + c.ConfigurationID))
	return time.Duration(h.Sum64()%uint64(c.IntervalSeconds*1000)) * time.Millisecond
}

func keyOf(c wire.Check) key { return key{c.SystemID, c.ConfigurationID} }

// same reports whether two checks are made in the same way; their names do not matter.
func same(a, b wire.Check) bool {
	a.Name, b.Name = "", ""
	one, err := json.Marshal(a)
	two, err2 := json.Marshal(b)
	return err == nil && err2 == nil && string(one) == string(two)
}
