package healthcheck

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"checkstack/plugins"
)

// course is what lanes did: which runs began when, in ms since the beginning, and which were put off.
type course struct {
	lanes
	took map[string]time.Duration // how long the run of a system takes; by default 0

	mu    sync.Mutex
	start time.Time
	log   []string
}

func newCourse(places, perHost int, took map[string]time.Duration) *course {
	c := &course{took: took, start: time.Now()}
	note := func(what, system string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.log = append(c.log, fmt.Sprintf("%s %s %d", what, system, time.Since(c.start).Milliseconds()))
	}
	c.lanes = lanes{places: places, perHost: perHost, room: func() { note("room", "") },
		run:    func(q claimed) { <-time.After(c.took[q.systemID]) },
		putOff: func(q claimed) { note("off", q.systemID) },
		began:  func(q claimed) { note("run", q.systemID) }}
	return c
}

// queue makes queued checks of systems: "a@host" connects to host, "a!" was slow.
func queue(names ...string) (all []queued) {
	for _, name := range names {
		name, slow := strings.CutSuffix(name, "!")
		system, host, _ := strings.Cut(name, "@")
		now := time.Now()
		all = append(all, queued{claimed: claimed{check: check{systemID: system}, slow: slow, due: now}, target: host, since: now})
	}
	return all
}

// seen returns what happened, the same moment's in the order of names, and forgets it.
func (c *course) seen() string {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	log := c.log
	c.log = nil
	slices.SortStableFunc(log, func(a, b string) int {
		var x, y int
		fmt.Sscanf(a[strings.LastIndexByte(a, ' ')+1:], "%d", &x)
		fmt.Sscanf(b[strings.LastIndexByte(b, ' ')+1:], "%d", &y)
		if x != y {
			return x - y
		}
		return strings.Compare(a, b)
	})
	return strings.Join(log, ", ")
}

func TestARunThatTakesLongHandsItsPlaceOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		took := map[string]time.Duration{"a": time.Second, "b": time.Second, "c": 50 * time.Millisecond, "d": time.Second}
		c := newCourse(2, 10, took)
		c.add(queue("a", "b", "c", "d", "e", "f"))
		<-time.After(5 * time.Second)
		if got := c.seen(); got != "run a 0, run b 0, run c 100, run d 100, run e 150, run f 150" {
			t.Errorf("got %s", got)
		}
		if c.active != 0 || c.waiting != 0 || c.slow != 0 || len(c.targets) != 0 {
			t.Errorf("when all have ended: %+v", &c.lanes)
		}
	})
}

func TestAPlaceIsKeptWhereNobodyElseMayWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names, took := make([]string, 2+roomFor), map[string]time.Duration{}
		for i := range names {
			names[i] = fmt.Sprint("n", i)
			took[names[i]] = time.Minute
		}
		took["last"] = time.Minute
		c := newCourse(1, 100, took)
		c.add(queue(names[:1+roomFor]...))
		<-time.After(10 * time.Second)
		if c.active != 1 || c.waiting != roomFor || c.stuck() || !c.stuck() {
			t.Errorf("%d in places, %d wait", c.active, c.waiting)
		}
		c.seen()
		c.add(queue("late"))
		<-time.After(maxQueued + time.Millisecond)
		c.sweep()
		if got := c.seen(); got != "off late 12001" {
			t.Errorf("got %s", got)
		}
		c.lanes.drain()
	})
}

func TestATargetHasItsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		took := map[string]time.Duration{"a": time.Second, "b": 50 * time.Millisecond, "c": time.Second}
		c := newCourse(10, 1, took)
		c.add(queue("a@one", "x@two", "y", "z"))
		c.add(queue("b@one"))
		c.add(queue("c@one"))
		<-time.After(3 * time.Second)
		if got := c.seen(); got != "run a 0, run x 0, run y 0, run z 0, run b 100, run c 150" {
			t.Errorf("got %s", got)
		}
		if len(c.targets) != 0 {
			t.Errorf("when all have ended: %v", c.targets)
		}
	})
}

func TestWhatWaitsTooLongIsPutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, took := make([]string, slowShare), map[string]time.Duration{}
		for i := range slow {
			name := fmt.Sprint("s", i)
			slow[i], took[name] = name+"@one!", time.Minute
		}
		c := newCourse(1, 1, took)
		c.add(queue(slow...))
		c.seen()
		c.add(queue("t@two!", "u@two", "v@one!")) // the lane is full, and one has its share of it
		<-time.After(maxQueued)
		c.sweep()
		if got := c.seen(); got != "off v 0, run u 0" {
			t.Errorf("in time: %s", got)
		}
		<-time.After(time.Millisecond)
		c.sweep()
		if got := c.seen(); got != "off t 2001" {
			t.Errorf("too long: %s", got)
		}
		c.lanes.drain()
	})
}

func TestSlowRunsHaveALaneOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		took, names := map[string]time.Duration{}, []string{}
		for i := range slowShare + 1 {
			name := fmt.Sprintf("s%d", i)
			took[name] = time.Second
			names = append(names, name+"!")
		}
		c := newCourse(1, 100, took)
		if fast, slow := c.free(); fast != queueFor || slow != slowShare {
			t.Errorf("at first %d and %d are free", fast, slow)
		}
		c.add(queue(names...))
		c.add(queue("f"))
		synctest.Wait()
		if fast, slow := c.free(); fast != queueFor || slow != 0 { // one is queued beside those that run
			t.Errorf("then %d and %d are free", fast, slow)
		}
		if got := c.seen(); got != "run f 0, run s0 0, run s1 0, run s2 0, run s3 0, run s4 0, run s5 0, run s6 0, run s7 0" {
			t.Errorf("got %s", got)
		}
		<-time.After(3 * time.Second)
		if got := c.seen(); got != "run s8 1000" {
			t.Errorf("then %s", got)
		}
	})
}

func TestADrainPutsOffWhatIsQueuedAndWaitsForTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCourse(1, 100, map[string]time.Duration{"a": 50 * time.Millisecond})
		c.add(queue("a", "b"))
		c.lanes.drain()
		if got := c.seen(); got != "off b 0, run a 0" {
			t.Errorf("got %s", got)
		}
		if took := time.Since(c.start); took != 50*time.Millisecond {
			t.Errorf("it took %s", took)
		}
	})
}

func TestClaimsAreOfTwoLanes(t *testing.T) {
	db := database(t)
	s := servers(t, db, 1, kind{"test", fine})[0]
	for i := range 6 { // the later the longer due
		configure(t, db, "test", time.Hour, time.Second, start.Add(-time.Duration(i)*time.Minute), fmt.Sprint("n", i))
	}
	execute(t, db, `update healthcheck.assignments set slow = true where system_id in ('n1', 'n3', 'n5')`)
	claim := func(fast, slow int) string {
		t.Helper()
		due, _, err := s.claim(t.Context(), fast, slow, &start)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, c := range due {
			if c.slow != slices.Contains([]string{"n1", "n3", "n5"}, c.systemID) {
				t.Errorf("%s is slow: %t", c.systemID, c.slow)
			}
			names = append(names, c.systemID)
		}
		slices.Sort(names)
		return strings.Join(names, " ")
	}
	for _, step := range []struct {
		fast, slow int
		want       string
	}{{2, 0, "n2 n4"}, {0, 1, "n5"}, {0, 0, ""}, {5, 5, "n0 n1 n3"}, {5, 5, ""}} {
		if got := claim(step.fast, step.slow); got != step.want {
			t.Errorf("up to %d and %d: %q, want %q", step.fast, step.slow, got, step.want)
		}
	}
}

// A slice whose last run took all of its time is slow; one that could not be made says nothing of that, and one in time ends it.
func TestASliceIsSlowAsLongAsItsRunsTakeAllOfTheirTime(t *testing.T) {
	db := database(t)
	var out func(context.Context) Outcome
	s := servers(t, db, 1, kind{"test", func(ctx context.Context, _ json.RawMessage) Outcome { return out(ctx) }})[0]
	configure(t, db, "test", time.Second, 100*time.Millisecond, start, "a")
	hangs := func(ctx context.Context) Outcome {
		<-ctx.Done()
		return Outcome{Status: plugins.Unhealthy, Message: context.Cause(ctx).Error()}
	}
	faulty := func(context.Context) Outcome { return Outcome{Fault: context.DeadlineExceeded} }
	quick := func(context.Context) Outcome { return Outcome{Status: plugins.Unhealthy} }
	at := start
	for i, step := range []struct {
		run  func(context.Context) Outcome
		slow bool // afterwards
	}{{quick, false}, {hangs, true}, {hangs, true}, {faulty, true}, {quick, false}, {faulty, false}} {
		out = step.run
		due := claimAll(t, s, 5, at)
		if len(due) != 1 {
			t.Fatalf("step %d: claimed %+v", i, due)
		}
		s.run(t.Context(), due[0])
		if err := s.recorder.drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if slow := value[bool](t, db, `select slow from healthcheck.assignments`); slow != step.slow {
			t.Errorf("step %d: slow is %t", i, slow)
		}
		at = at.Add(2 * time.Second)
	}
	execute(t, db, `update healthcheck.assignments set slow = true`)
	execute(t, db, rescheduleSQL, value[string](t, db, `select id from healthcheck.configurations`), false)
	if value[bool](t, db, `select slow from healthcheck.assignments`) {
		t.Error("a changed configuration is still slow")
	}
}

func TestARunThatWasPutOffIsDueFiveSecondsLaterAndKeepsItsRhythm(t *testing.T) {
	db := database(t)
	s := servers(t, db, 1, kind{"test", fine})[0]
	slot := time.Now().Add(-time.Hour).Truncate(time.Second)
	configure(t, db, "test", 24*time.Hour, time.Second, slot, "a")
	for range 3 {
		due := claimAll(t, s, 1, time.Now().Add(6*time.Second))
		if len(due) != 1 {
			t.Fatalf("claimed %+v", due)
		}
		s.recorder.add(finished{key: key{due[0].systemID, due[0].configurationID}, lease: due[0].lease, postponed: true})
		if err := s.recorder.drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		const in = `select extract(epoch from due_at - now())::float8 from healthcheck.assignments where lease_id is null`
		if got := value[float64](t, db, in); got <= 3 || got > 5 {
			t.Errorf("it is due in %v s", got)
		}
	}
	if next := value[time.Time](t, db, `select next_run_at from healthcheck.assignments`); !next.Equal(slot.Add(24 * time.Hour)) {
		t.Errorf("the next slot is %s", next)
	}
	if n := value[int](t, db, `select (select count(*) from ledger) + (select count(*) from healthcheck.errors) + (select count(*) from healthcheck.states)`); n != 0 {
		t.Errorf("%d rows were written", n)
	}
}

func TestTheNextRunIsNoCloserThanHalfAnIntervalAndNoFurtherThanAWholeOne(t *testing.T) {
	db := database(t)
	s := servers(t, db, 1, kind{"test", fine})[0]
	id := configure(t, db, "test", time.Minute, time.Second, start, "a")
	for _, test := range []struct{ slot, at, want time.Duration }{
		{0, 0, time.Minute},
		{0, 29 * time.Second, time.Minute},
		{0, 30 * time.Second, time.Minute},
		{0, 31 * time.Second, 61 * time.Second}, // the slot is too close
		{0, 59 * time.Second, 89 * time.Second},
		{0, 10*time.Minute + 29*time.Second, 11 * time.Minute},
		{20 * time.Second, 0, 30 * time.Second}, // before its slot, as after a change of the system
		{30 * time.Second, 0, 30 * time.Second},
		{50 * time.Second, 0, 50 * time.Second},
	} {
		execute(t, db, `update healthcheck.assignments set slot_at = $2, due_at = $3, lease_id = null where configuration_id = $1`,
			id, start.Add(test.slot), start.Add(test.at))
		if due := claimAll(t, s, 1, start.Add(test.at)); len(due) != 1 || !due[0].due.Equal(start.Add(test.at)) {
			t.Errorf("%+v: claimed %+v", test, due)
		}
		if next := value[time.Time](t, db, `select next_run_at from healthcheck.assignments`); !next.Equal(start.Add(test.want)) {
			t.Errorf("%+v: the next run is after %s", test, next.Sub(start))
		}
	}
}

// The slots of many checks of a minute are spread over the minute, wherever and whenever they were assigned; the first run is at once.
func TestSlotsAreSpreadByTheHashOfTheirKeys(t *testing.T) {
	db := database(t)
	s := servers(t, db, 1, kind{"test", fine})[0]
	id := configure(t, db, "test", time.Minute, time.Second, start)
	for i := range 240 {
		give(t, db, fmt.Sprint(i), id)
	}
	if n := len(claimAll(t, s, 500, time.Now())); n != 240 {
		t.Errorf("%d are run at once", n)
	}
	const slots = `select string_agg(system_id || ' ' || extract(epoch from slot_at)::numeric % 60, ',' order by system_id) from healthcheck.assignments`
	first := value[string](t, db, slots)
	if n := value[int](t, db, `select count(distinct floor(extract(epoch from slot_at)::numeric % 60 / 10)) from healthcheck.assignments`); n != 6 {
		t.Errorf("the slots are in %d of 6 parts of the minute", n)
	}
	if n := value[int](t, db, `select count(*) from healthcheck.assignments where next_run_at not between now() + interval '25 seconds' and now() + interval '61 seconds'`); n != 0 {
		t.Errorf("%d runs are not half an interval to a whole one away", n)
	}
	execute(t, db, `update healthcheck.assignments set lease_id = null`)
	execute(t, db, rescheduleSQL, id, false)
	claimAll(t, s, 500, time.Now().Add(time.Second))
	if again := value[string](t, db, slots); again != first {
		t.Error("a changed configuration has other slots")
	}
}
