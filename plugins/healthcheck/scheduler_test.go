package healthcheck

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"checkstack/plugins"
)

var start = time.Date(2026, 3, 29, 0, 30, 0, 0, time.UTC)

// claimAll claims at a time until nothing is due.
func claimAll(t *testing.T, s *scheduler, limit int, at time.Time) (all []claimed) {
	t.Helper()
	for {
		due, _, err := s.claim(t.Context(), limit, limit, &at)
		if err != nil {
			t.Error(err)
		}
		if len(due) == 0 {
			return all
		}
		all = append(all, due...)
	}
}

// end stores the ends of runs, which found the system healthy or were cut short.
func end(t *testing.T, s *scheduler, at time.Time, cutShort bool, all ...claimed) {
	t.Helper()
	for _, c := range all {
		f := finished{key: key{c.systemID, c.configurationID}, lease: c.lease}
		if !cutShort {
			f.run = &plugins.Run{ID: plugins.NewID(), SystemID: c.systemID, ConfigurationID: c.configurationID, Status: plugins.Healthy, ExecutedAt: at}
		}
		s.recorder.add(f)
	}
	if err := s.recorder.drain(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestThreeServersRunEachSliceOncePerInterval(t *testing.T) {
	db := database(t)
	all := servers(t, db, 3, kind{"test", fine})
	const systems, intervals = 150, 5
	names := make([]string, systems)
	for i := range names {
		names[i] = fmt.Sprintf("system-%03d", i)
	}
	configure(t, db, "test", time.Minute, time.Second, start, names...)
	for step := range intervals * 2 { // twice as often as there are slots
		at := start.Add(time.Duration(step) * 30 * time.Second)
		var (
			mu    sync.Mutex
			group sync.WaitGroup
			seen  = make(map[string]int)
			total int
		)
		for _, s := range all {
			group.Go(func() {
				due := claimAll(t, s, 7, at)
				mu.Lock()
				for _, c := range due {
					seen[c.systemID]++
				}
				total += len(due)
				mu.Unlock()
				end(t, s, at, false, due...)
			})
		}
		group.Wait()
		want := systems * ((step + 1) % 2)
		if total != want || len(seen) != want {
			t.Fatalf("at %s: %d claims of %d systems, want %d", at, total, len(seen), want)
		}
	}
	if n := value[int](t, db, `select count(*) from ledger`); n != systems*intervals {
		t.Errorf("%d runs were kept, want %d", n, systems*intervals)
	}
}

func TestACheckThatAnotherServerIsClaimingIsPassedOver(t *testing.T) {
	db := database(t)
	s := servers(t, db, 1, kind{"test", fine})[0]
	configure(t, db, "test", time.Minute, time.Second, start, "a", "b")
	other, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Rollback()
	if _, err := other.ExecContext(t.Context(), `select from healthcheck.assignments where system_id = 'a' for update`); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if due, _, err := s.claim(ctx, 10, 10, nil); err != nil || len(due) != 1 || due[0].systemID != "b" {
		t.Errorf("got %+v, %v", due, err)
	}
}

func TestSlotsThatWereMissedAreLeftOutAndTheRhythmIsKept(t *testing.T) {
	db := database(t)
	s := servers(t, db, 1, kind{"test", fine})[0]
	configure(t, db, "test", time.Minute, time.Second, start, "a")
	late := start.Add(10*time.Minute + 17*time.Second)
	end(t, s, late, false, claimAll(t, s, 10, late)...)
	for _, test := range []struct {
		at   time.Duration
		want int
	}{{10*time.Minute + 18*time.Second, 0}, {10*time.Minute + 59*time.Second, 0}, {11 * time.Minute, 1}, {12 * time.Minute, 1}} {
		due := claimAll(t, s, 10, start.Add(test.at))
		if len(due) != test.want {
			t.Errorf("after %s: %d claims, want %d", test.at, len(due), test.want)
		}
		end(t, s, late, false, due...)
	}
	if n := value[int](t, db, `select count(*) from ledger`); n != 3 {
		t.Errorf("%d runs, want 3", n)
	}
}

func TestARunThatTakesLongerThanTheIntervalDoesNotOverlapItself(t *testing.T) {
	db := database(t)
	s := servers(t, db, 1, kind{"test", fine})[0]
	configure(t, db, "test", 10*time.Second, time.Minute, start, "a")
	first := claimAll(t, s, 10, start)
	if due := claimAll(t, s, 10, start.Add(35*time.Second)); len(first) != 1 || len(due) != 0 {
		t.Fatalf("%d claims at first, %d while it runs", len(first), len(due))
	}
	end(t, s, start, false, first...)
	due := claimAll(t, s, 10, start.Add(35*time.Second)) // the slots at 10, 20 and 30 s make one run
	end(t, s, start, false, due...)
	if next := claimAll(t, s, 10, start.Add(39*time.Second)); len(due) != 1 || len(next) != 0 {
		t.Errorf("%d claims when it has ended, %d before the next slot", len(due), len(next))
	}
	if next := claimAll(t, s, 10, start.Add(40*time.Second)); len(next) != 1 {
		t.Errorf("%d claims at the next slot", len(next))
	}
}

func TestTheSlotOfAServerThatDiedIsRunAgainByAnother(t *testing.T) {
	db := database(t)
	all := servers(t, db, 2, kind{"test", fine})
	configure(t, db, "test", 30*24*time.Hour, 5*time.Second, start, "a")
	dead := claimAll(t, all[0], 10, start)
	if due := claimAll(t, all[1], 10, start.Add(10*time.Second-time.Microsecond)); len(dead) != 1 || len(due) != 0 {
		t.Fatalf("%d claims at first, %d during the lease", len(dead), len(due))
	}
	again := claimAll(t, all[1], 10, start.Add(10*time.Second))
	if len(again) != 1 {
		t.Fatalf("%d claims after the lease", len(again))
	}
	end(t, all[0], start, false, dead...) // it was not dead, only slow: its run counts, but the lease is not its own
	if lease := value[string](t, db, `select lease_id from healthcheck.assignments`); lease != again[0].lease {
		t.Errorf("the lease is %q, want %q", lease, again[0].lease)
	}
	end(t, all[1], start, false, again...)
	if due := value[time.Time](t, db, `select due_at from healthcheck.assignments`); !due.Equal(start.Add(30 * 24 * time.Hour)) {
		t.Errorf("due at %s, want at the second slot", due)
	}
}

func TestARunThatWasCutShortIsDueAtOnceAndNotRecorded(t *testing.T) {
	db := database(t)
	s := servers(t, db, 1, kind{"test", fine})[0]
	slot := time.Now().Add(-time.Hour).Truncate(time.Second)
	configure(t, db, "test", 24*time.Hour, 5*time.Second, slot, "a")
	end(t, s, start, true, claimAll(t, s, 10, slot)...)
	if n := value[int](t, db, `select count(*) from ledger`); n != 0 {
		t.Errorf("%d runs were recorded", n)
	}
	due, _, err := s.claim(t.Context(), 10, 10, nil)
	if err != nil || len(due) != 1 {
		t.Fatalf("%d claims, %v", len(due), err)
	}
	end(t, s, start, false, due...)
	next := value[time.Time](t, db, `select due_at from healthcheck.assignments`)
	if !next.Equal(slot.Add(24 * time.Hour)) {
		t.Errorf("due at %s, want at the next slot, %s", next, slot.Add(24*time.Hour))
	}
}

func TestOnlyEnabledChecksOfTypesThatAreHereAreClaimed(t *testing.T) {
	db := database(t)
	s := servers(t, db, 1, kind{"test", fine})[0]
	configure(t, db, "elsewhere", time.Minute, time.Second, start, "a")
	off := configure(t, db, "test", time.Minute, time.Second, start, "b")
	execute(t, db, `update healthcheck.assignments set enabled = false where configuration_id = $1`, off)
	due, wait, err := s.claim(t.Context(), 10, 10, nil)
	if err != nil || len(due) != 0 || wait != maxIdle {
		t.Errorf("%d claims, wait %s, %v", len(due), wait, err)
	}
}

func TestTheSchedulerSleepsUntilTheNextCheckIsDue(t *testing.T) {
	db := database(t)
	s := servers(t, db, 1, kind{"test", fine})[0]
	id := configure(t, db, "test", time.Hour, time.Second, time.Now().Add(time.Hour), "a")
	for _, test := range []struct{ in, low, high time.Duration }{
		{time.Hour, maxIdle, maxIdle}, {500 * time.Millisecond, -time.Hour, 500 * time.Millisecond},
	} {
		execute(t, db, `update healthcheck.assignments set due_at = now() + make_interval(secs => $2) where configuration_id = $1`, id, test.in.Seconds())
		if _, wait, err := s.claim(t.Context(), 10, 10, nil); err != nil || wait < test.low || wait > test.high {
			t.Errorf("due in %s: wait %s, %v", test.in, wait, err)
		}
	}
}

func TestAChangedConfigurationIsDueAtOnceButNeverTwice(t *testing.T) {
	db := database(t)
	s := servers(t, db, 1, kind{"test", fine})[0]
	id := configure(t, db, "test", time.Hour, time.Minute, start, "at rest", "busy")
	execute(t, db, `update healthcheck.assignments set due_at = '2100-01-01Z', next_run_at = '2100-01-01Z' where system_id = 'at rest'`)
	now := time.Now()
	busy := claimAll(t, s, 1, now)
	execute(t, db, rescheduleSQL, id, false)
	due, _, err := s.claim(t.Context(), 10, 10, nil)
	if err != nil || len(busy) != 1 || len(due) != 1 || due[0].systemID != "at rest" {
		t.Fatalf("claims %+v, then %+v, %v", busy, due, err)
	}
	end(t, s, now, false, busy...)
	if due, _, err = s.claim(t.Context(), 10, 10, nil); err != nil || len(due) != 1 || due[0].systemID != "busy" {
		t.Errorf("when it had ended: %+v, %v", due, err)
	}
}

func TestServersThatShareADatabaseShareTheWork(t *testing.T) {
	db := database(t)
	var runs atomic.Int64
	enough := make(chan struct{})
	all := servers(t, db, 2, kind{"test", func(ctx context.Context, _ json.RawMessage) Outcome {
		switch n := runs.Add(1); {
		case n <= 15: // three slots of five checks
			return Outcome{Status: plugins.Healthy}
		case n == 20: // another run of each check is under way, so what it did before is stored
			close(enough)
		}
		<-ctx.Done() // these are cut short, and not kept
		return Outcome{Status: plugins.Unhealthy}
	}})
	configure(t, db, "test", time.Second, time.Second, time.Now(), "a", "b", "c", "d", "e")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var loops sync.WaitGroup
	began := time.Now()
	for _, s := range all {
		loops.Go(func() { s.loop(ctx) })
		loops.Go(func() { s.recorder.loop(ctx) })
	}
	<-enough
	stop()
	loops.Wait()
	for _, s := range all {
		if err := s.recorder.drain(t.Context()); err != nil {
			t.Error(err)
		}
	}
	slots := 1 + int(time.Since(began)/time.Second)
	if n := int(runs.Load()); n > slots*5 {
		t.Errorf("%d runs of 5 checks in %d slots", n, slots)
	}
	if n := value[int](t, db, `select count(*) from ledger`); n != 15 {
		t.Errorf("15 runs came to their end, %d are kept", n)
	}
}

func TestClosingCutsRunsShortAndGivesThemToAnotherServer(t *testing.T) {
	db := database(t)
	started := make(chan struct{}, 1)
	var ended atomic.Bool
	s := servers(t, db, 1, kind{"test", func(ctx context.Context, _ json.RawMessage) Outcome {
		started <- struct{}{}
		<-ctx.Done()
		<-time.After(50 * time.Millisecond) // it needs a moment
		ended.Store(true)
		return Outcome{Status: plugins.Unhealthy, Message: "must not be kept"}
	}})[0]
	configure(t, db, "test", 24*time.Hour, time.Minute, time.Now(), "a")
	ctx, stop := context.WithCancel(t.Context())
	var loops sync.WaitGroup
	loops.Go(func() { s.loop(ctx) })
	loops.Go(func() { s.recorder.loop(ctx) })
	<-started
	stop()
	loops.Wait()
	if !ended.Load() {
		t.Error("the run was not waited for")
	}
	if err := s.recorder.drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := value[int](t, db, `select count(*) from ledger`); n != 0 {
		t.Errorf("%d runs were recorded", n)
	}
	other := servers(t, db, 1, kind{"test", fine})[0]
	if due, _, err := other.claim(t.Context(), 10, 10, nil); err != nil || len(due) != 1 {
		t.Errorf("the other server claims %d, %v", len(due), err)
	}
}

func TestAnOutageOfTheDatabaseIsLoggedOnceAndSurvived(t *testing.T) {
	db := database(t)
	ran := make(chan struct{}, 100)
	s := servers(t, db, 1, kind{"test", func(context.Context, json.RawMessage) Outcome {
		ran <- struct{}{}
		return Outcome{Status: plugins.Healthy}
	}})[0]
	var log lines
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	configure(t, db, "test", time.Hour, time.Second, start, "a")
	execute(t, db, `alter table healthcheck.assignments rename to gone`)
	ctx, stop := context.WithCancel(t.Context())
	var loop sync.WaitGroup
	loop.Go(func() { s.loop(ctx) })
	log.await(t, "checks cannot be claimed", 1)
	s.wake() // another attempt
	s.wake()
	execute(t, db, `alter table healthcheck.gone rename to assignments`)
	s.wake()
	<-ran
	log.await(t, "checks can be claimed again", 1)
	stop()
	loop.Wait()
	log.await(t, "checks cannot be claimed", 1)
}

func TestASystemHasAtMost500Checks(t *testing.T) {
	db := database(t)
	configure(t, db, "test", time.Hour, time.Second, start, "a")
	execute(t, db, `insert into healthcheck.configurations (id, name, name_key, type, config, interval_seconds, timeout_ms)
		select gen_random_uuid(), 'many ' || i, i, 'test', '{}', 60, 1000 from generate_series(1, 500) i`)
	execute(t, db, `insert into healthcheck.assignments (system_id, configuration_id, enabled)
		select 'a', id, true from healthcheck.configurations where name like 'many %' limit 499`)
	try := func(id string) error {
		return plugins.Tx(t.Context(), db, func(tx *sql.Tx) error {
			_, err := assign(t.Context(), tx, "a", id, false, nil)
			return err
		})
	}
	first := value[string](t, db, `select id from healthcheck.configurations where name not like 'many %'`)
	last := value[string](t, db, `select id from healthcheck.configurations c where not exists (
		select from healthcheck.assignments where configuration_id = c.id)`)
	if err := try(first); err != nil {
		t.Errorf("one of the 500: %v", err)
	}
	if err := try(last); err == nil || err.Error() != "Limit reached: a system may have at most 500 checks" {
		t.Errorf("one more: %v", err)
	}
}

// TestHangingRunsThatTakeAllPlacesAreReported has as many checks hang for 90 s as there are places and room to wait. The clock
// is that of the bubble: it moves on when everybody waits for it.
func TestHangingRunsThatTakeAllPlacesAreReported(t *testing.T) {
	_, url := schema(t)
	synctest.Test(t, func(t *testing.T) {
		db, err := sql.Open("postgres", url)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		ran := make(chan struct{}, 1)
		hang := kind{"hang", func(ctx context.Context, _ json.RawMessage) Outcome {
			<-ctx.Done()
			return Outcome{Status: plugins.Unhealthy}
		}}
		s := servers(t, db, 1, hang, kind{"test", func(context.Context, json.RawMessage) Outcome {
			ran <- struct{}{}
			return Outcome{Status: plugins.Healthy}
		}})[0]
		var log lines
		s.log = slog.New(slog.NewTextHandler(&log, nil))
		s.lanes.places = 2
		names := make([]string, s.lanes.places*(1+roomFor))
		for i := range names {
			names[i] = fmt.Sprint("hanging ", i)
		}
		due := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		configure(t, db, "hang", 30*24*time.Hour, 90*time.Second, due, names...)
		configure(t, db, "test", 30*24*time.Hour, time.Second, due.Add(time.Second), "waiting")
		p := s.probe()
		ctx, stop := context.WithCancel(t.Context())
		var loop sync.WaitGroup
		loop.Go(func() { s.loop(ctx) })
		// It takes 1.7 s until all are under way, and up to two looks at the table more until that is noticed.
		for _, test := range []struct {
			wait, least time.Duration // since how long at least all places are taken then
			warn        int
		}{{31 * time.Second, 27 * time.Second, 0}, {4 * time.Second, 31 * time.Second, 1}, {30 * time.Second, 61 * time.Second, 1}} {
			<-time.After(test.wait)
			age := s.jam.age()
			if age < test.least || age > test.least+3*time.Second {
				t.Errorf("%s later all places have been taken for %s, want %s and a little", test.wait, age, test.least)
			}
			want := plugins.Result{OK: true}
			if test.warn > 0 {
				want = plugins.Result{Message: fmt.Sprintf("all 2 places have been taken for %s", age.Truncate(time.Second))}
			}
			if got, err := p.Check(t.Context()); err != nil || got != want {
				t.Errorf("%s later: %+v, %v; want %+v", test.wait, got, err, want)
			}
			log.await(t, "no check can be started", test.warn)
		}
		<-ran
		log.await(t, "checks can be started again", 1)
		if got, err := p.Check(t.Context()); err != nil || !got.OK {
			t.Errorf("when the runs have ended: %+v, %v", got, err)
		}
		stop()
		loop.Wait()
		log.await(t, "no check can be started", 1)
	})
}

func TestTheProbeFailsWhenNothingCouldBeClaimedForLong(t *testing.T) {
	s := servers(t, nil, 1)[0]
	p := s.probe()
	if got, err := p.Check(t.Context()); err != nil || !got.OK || !p.Optional || p.Name != "healthcheck.scheduler" {
		t.Errorf("at first: %+v, %v, of %+v", got, err, p)
	}
	s.looked.Store(time.Now().Add(-42500 * time.Millisecond).UnixNano())
	if got, err := p.Check(t.Context()); err != nil || got.OK || got.Message != "no due check could be claimed for 42 s" {
		t.Errorf("after 42 s: %+v, %v", got, err)
	}
}
