package agent

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"checkstack/plugins"
	"checkstack/plugins/healthcheck"
	"checkstack/plugins/satellite/wire"
)

// schedule runs f with a scheduler in a bubble of time. It returns how many runs came out.
func schedule(t *testing.T, types *fakeTypes, places int, f func(s *scheduler)) (out []plugins.Run) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		log := &logBook{}
		s := newScheduler(types, log.logger(), places, func(r plugins.Run) {
			mu.Lock()
			defer mu.Unlock()
			out = append(out, r)
		})
		ctx, cancel := context.WithCancel(t.Context())
		s.begin(ctx)
		f(s)
		cancel()
		s.end()
	})
	return out
}

func TestACheckKeepsItsRhythmWhateverHappens(t *testing.T) {
	types := &fakeTypes{}
	c := check(7, 60)
	want := phase(c).Seconds()
	schedule(t, types, 64, func(s *scheduler) {
		began := time.Now() // midnight, UTC
		s.set([]wire.Check{c}, false)
		time.Sleep(150 * time.Second)
		s.set(nil, false)
		time.Sleep(1000 * time.Second)
		s.set([]wire.Check{c}, false)
		time.Sleep(70 * time.Second)
		got := types.times("system-7", began)
		var all []float64
		for at := want; at < 1220; at += 60 {
			if at < 150 || at >= 1150 {
				all = append(all, at)
			}
		}
		if !slices.Equal(got, all) {
			t.Errorf("it ran after %v s, want %v", got, all)
		}
	})
}

func TestChecksAreSpreadOverTheirInterval(t *testing.T) {
	const checks, seconds = 6000, 60
	types := &fakeTypes{}
	var all []wire.Check
	for i := range checks {
		all = append(all, check(i, seconds))
	}
	out := schedule(t, types, checks, func(s *scheduler) {
		s.set(all, false)
		time.Sleep(seconds * time.Second)
	})
	perSecond := make([]int, seconds)
	for _, s := range types.started {
		perSecond[s.at.Second()]++
	}
	if len(out) < checks-checks/seconds || slices.Max(perSecond) > 160 || slices.Min(perSecond) < 50 {
		t.Errorf("%d ran, each second %v", len(out), perSecond)
	}
}

func TestACheckThatTakesLongerThanItsIntervalMissesSlots(t *testing.T) {
	types := &fakeTypes{takes: func(healthcheck.SourceCheck) time.Duration { return 25 * time.Second }}
	c := check(1, 10)
	var got []float64
	schedule(t, types, 64, func(s *scheduler) {
		began := time.Now()
		s.set([]wire.Check{c}, false)
		time.Sleep(100 * time.Second)
		got = types.times("system-1", began)
	})
	p := phase(c).Seconds()
	if want := []float64{p, p + 30, p + 60, p + 90}; !slices.Equal(got, want) {
		t.Errorf("it ran after %v s, want %v", got, want)
	}
	if types.overlap {
		t.Error("it overlapped with itself")
	}
}

func TestAtMostSoManyRunAtOnce(t *testing.T) {
	types := &fakeTypes{takes: func(healthcheck.SourceCheck) time.Duration { return time.Second }}
	var all []wire.Check
	for i := range 200 {
		all = append(all, check(i, 5))
	}
	out := schedule(t, types, 16, func(s *scheduler) {
		s.set(all, false)
		time.Sleep(101 * time.Second)
	})
	if types.most != 16 || types.overlap || len(out) < 16*95 {
		t.Errorf("at most %d ran at once, %d in all", types.most, len(out))
	}
	per := map[string]int{}
	for _, s := range types.started {
		per[s.system]++
	}
	for i := range 200 { // nobody starves: 16 places for 200 checks are 8 runs each
		if n := per[fmt.Sprintf("system-%d", i)]; n < 6 || n > 10 {
			t.Errorf("check %d ran %d times", i, n)
		}
	}
}

func TestAChangeOfOneCheckDisturbsNoOther(t *testing.T) {
	types := &fakeTypes{takes: func(healthcheck.SourceCheck) time.Duration { return 20 * time.Second }}
	a, b := check(1, 60), check(2, 60)
	out := schedule(t, types, 64, func(s *scheduler) {
		s.set([]wire.Check{a, b}, false)
		time.Sleep(max(phase(a), phase(b)) + time.Millisecond) // both, or one and later the other, are under way
		changed := b
		changed.TimeoutMs++
		renamed := a
		renamed.Name = "another"
		s.set([]wire.Check{renamed, changed}, false)
		synctest.Wait()
		if s.size() != 2 {
			t.Errorf("%d checks are run", s.size())
		}
		s.set([]wire.Check{renamed}, false)
		s.set([]wire.Check{renamed, b}, false)
		time.Sleep(time.Minute)
	})
	if types.overlap || types.cut < 1 {
		t.Errorf("%d runs were cut short, overlap %t", types.cut, types.overlap)
	}
	got := map[string]int{}
	for _, r := range out {
		got[r.SystemID]++
	}
	if got["system-1"] < 1 {
		t.Errorf("the runs are %v", got)
	}
}

func TestANewCheckIsMadeSoonAndAKnownOneInItsSlot(t *testing.T) {
	types := &fakeTypes{}
	old, fresh := check(1, 86400), check(2, 86400)
	schedule(t, types, 64, func(s *scheduler) {
		began := time.Now()
		s.set([]wire.Check{old}, false)
		time.Sleep(time.Second)
		s.set([]wire.Check{old, fresh}, true)
		time.Sleep(soon)
		if got := types.times("system-2", began); len(got) != 1 {
			t.Errorf("it ran after %v s", got)
		}
		time.Sleep(86400 * time.Second)
		if got, want := types.times("system-1", began), []float64{phase(old).Seconds()}; !slices.Equal(got, want) {
			t.Errorf("the old one ran after %v s, want %v", got, want)
		}
		if got, want := types.times("system-2", began), phase(fresh).Seconds(); len(got) != 2 || got[1] != want {
			t.Errorf("the new one ran after %v s, want the second time after %v", got, want)
		}
	})
}

func TestARunThatIsCutShortIsNotRecorded(t *testing.T) {
	types := &fakeTypes{takes: func(healthcheck.SourceCheck) time.Duration { return 4 * time.Second }}
	c := check(1, 10)
	out := schedule(t, types, 64, func(s *scheduler) {
		s.set([]wire.Check{c}, false)
		time.Sleep(phase(c) + 30*time.Second + time.Second)
	})
	if len(out) != 3 || types.cut != 1 {
		t.Errorf("%d are recorded, %d were cut short", len(out), types.cut)
	}
}

func TestChecksThatCannotBeRunAreLeftOutAndSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, types := &logBook{}, &fakeTypes{}
		s := newScheduler(types, log.logger(), 64, func(plugins.Run) {})
		ctx, cancel := context.WithCancel(t.Context())
		s.begin(ctx)
		other, interval, timeout := check(1, 1), check(2, 0), check(3, 1)
		other.Type, timeout.TimeoutMs = "other", 0
		s.set([]wire.Check{other, interval, timeout, check(4, 1), check(4, 1)}, false)
		if !s.ready() || s.size() != 1 || log.count("level=WARN") != 4 {
			t.Errorf("%d checks are run\n%s", s.size(), log)
		}
		var many []wire.Check
		for i := range maxChecks + 2 {
			many = append(many, check(i, 86400))
		}
		s.set(many, false)
		if s.size() != maxChecks || log.count("level=ERROR") != 1 {
			t.Errorf("%d checks are run", s.size())
		}
		cancel()
		s.end()
		if len(s.checks) != 0 {
			t.Errorf("%d checks are left", len(s.checks))
		}
		s.set(many, true) // too late
		s.end()
	})
}
