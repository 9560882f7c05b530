package healthcheck

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"checkstack/plugins"
)

// told lists what people are told of, in order: severity and title.
func told(t *testing.T, db *sql.DB) string {
	t.Helper()
	return value[string](t, db, `select coalesce(string_agg(severity || ': ' || title, ', ' order by id), '') from notification.notices`)
}

// transitions lists the transitions of a source, or with nil those of checks as a whole.
func transitions(t *testing.T, db *sql.DB, source *string) string {
	t.Helper()
	return value[string](t, db, `select coalesce(string_agg(from_status || '>' || to_status || ' ' || cause, ', ' order by id), '')
		from healthcheck.transitions where source_id is not distinct from $1`, source)
}

// rename gives a configuration a name.
func rename(t *testing.T, db *sql.DB, configuration, name string) {
	t.Helper()
	execute(t, db, `update healthcheck.configurations set name = $2, name_key = $2 where id = $1`, configuration, name)
}

// found stores what this server found, as many times as it says.
func (h *Healthcheck) found(t *testing.T, times int, runs ...plugins.Run) {
	t.Helper()
	for _, run := range runs {
		for range times {
			if _, err := h.recorder.store(t.Context(), []finished{{key: keyOf(run), run: &run}}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestATransitionIsWrittenAndToldOnceHoweverOftenItsRunsCome(t *testing.T) {
	db := database(t)
	h, _ := house(t, db, nil)
	id := configure(t, db, "test", time.Minute, time.Second, start, "shop")
	rename(t, db, id, "page")
	begin := value[time.Time](t, db, `select since from healthcheck.assignments`)
	const good, slow, bad = plugins.Healthy, plugins.Degraded, plugins.Unhealthy
	var all []plugins.Run
	for i, status := range []plugins.Status{good, bad, bad, bad, bad, bad, bad, slow, good, good, slow, good, bad, bad, good} {
		run := report("shop", id, status, begin.Add(time.Duration(i+1)*time.Microsecond))
		all = append(all, run)
		h.found(t, 2, run) // the answer of a commit may be lost
	}
	h.found(t, 1, all...) // late, too
	const want = "unknown>healthy run, healthy>degraded run, degraded>unhealthy run, unhealthy>degraded run, degraded>healthy run, " +
		"healthy>degraded run, degraded>healthy run"
	for _, source := range []*string{nil, new("")} {
		if got := transitions(t, db, source); got != want {
			t.Errorf("the transitions are\n%s, want\n%s", got, want)
		}
	}
	const notices = "warning: page is degraded, critical: page is unhealthy, warning: page is degraded, recovered: page is healthy, " +
		"warning: page is degraded, recovered: page is healthy"
	if got := told(t, db); got != notices {
		t.Errorf("people are told\n%s, want\n%s", got, notices)
	}
	const right = `select count(*) from healthcheck.transitions t join ledger l using (run_id) where t.at = l.executed_at`
	if n := value[int](t, db, right); n != 14 {
		t.Errorf("%d transitions are of their runs", n)
	}
	const events = `select count(*) || ' ' || count(*) filter (where data -> 'changes' -> 0 ->> 'systemId' = 'shop')
		from signals.events where name = 'healthcheck.status' and public`
	if got := value[string](t, db, events); got != "7 7" {
		t.Errorf("events: %s", got)
	}
}

func TestWhoWasToldOfAFailureIsToldThatTheCheckIsTakenAway(t *testing.T) {
	db := database(t)
	h, _ := house(t, db, nil)
	id := configure(t, db, "test", time.Minute, time.Second, start, "down", "fine", "paused")
	rename(t, db, id, "page")
	execute(t, db, `update healthcheck.assignments set thresholds = $1, since = now() - interval '1 day'`, strict)
	at := time.Now().Truncate(time.Microsecond).Add(-time.Minute)
	h.found(t, 1, report("down", id, plugins.Unhealthy, at), report("fine", id, plugins.Healthy, at), report("paused", id, plugins.Unhealthy, at))
	commit(t, db, func(ctx context.Context, tx *sql.Tx) error {
		_, err := assign(ctx, tx, "paused", id, false, []string{"local"})
		return err
	})
	commit(t, db, func(ctx context.Context, tx *sql.Tx) error {
		_, err := h.Unassign(ctx, tx, "down", id)
		return err
	})
	commit(t, db, func(ctx context.Context, tx *sql.Tx) error {
		_, err := h.DeleteConfiguration(ctx, tx, id)
		return err
	})
	const want = "critical: page is unhealthy, critical: page is unhealthy, recovered: page is not checked any more, recovered: page is not checked any more"
	if got := told(t, db); got != want {
		t.Errorf("people are told\n%s, want\n%s", got, want)
	}
	const threads = `select string_agg(distinct thread, ',') = $1 from notification.notices where resource in ('down', 'paused')`
	if !value[bool](t, db, threads, id) {
		t.Error("the end is not that of what they were told")
	}
}

// What was healthy before it was stale is healthy since its new run, and not since then. With the old time the notice would be taken
// for one that had been sent.
func TestTheEndOfStaleIsATransitionOfItsOwn(t *testing.T) {
	db := database(t)
	h, _ := house(t, db, nil)
	id := configure(t, db, "test", time.Minute, time.Second, start, "shop")
	rename(t, db, id, "page")
	execute(t, db, `update healthcheck.assignments set thresholds = $1, since = now() - interval '1 day'`, strict)
	now := time.Now().Truncate(time.Microsecond)
	h.found(t, 1, report("shop", id, plugins.Unhealthy, now.Add(-20*time.Minute)), report("shop", id, plugins.Healthy, now.Add(-10*time.Minute)))
	settled(t, db)
	watches(t, h)
	h.found(t, 1, report("shop", id, plugins.Healthy, time.Now()))
	const want = "critical: page is unhealthy, recovered: page is healthy, warning: page is stale, recovered: page is healthy"
	if got := told(t, db); got != want {
		t.Errorf("people are told\n%s, want\n%s", got, want)
	}
	for _, source := range []*string{nil, new("")} {
		if got := transitions(t, db, source); got != "unknown>unhealthy run, unhealthy>healthy run, healthy>stale stale, stale>healthy run" {
			t.Errorf("the transitions are %s", got)
		}
	}
	const right = `select bool_and(a.since = s.last_run_at and s.since = s.last_run_at and s.stale_since is null)
		from healthcheck.assignments a join healthcheck.states s using (system_id, configuration_id)`
	if !value[bool](t, db, right) {
		t.Error("it is not so since the new run")
	}
	const ordered = `select bool_and(ok) from (select at >= lag(at) over (partition by source_id order by id) as ok from healthcheck.transitions) x`
	if !value[bool](t, db, ordered) {
		t.Error("a transition is older than the one before it")
	}
}

func TestACheckIsWhatAQuorumOfItsSourcesSees(t *testing.T) {
	db := database(t)
	h, _ := house(t, db, nil)
	h.add(t, "east", "west")
	id := configure(t, db, "test", time.Minute, time.Second, start, "shop")
	give(t, db, "shop", id, local, "east", "west")
	quorum := func(n int) {
		t.Helper()
		commit(t, db, func(ctx context.Context, tx *sql.Tx) error {
			in := AssignmentInput{Quorum: &n, Thresholds: &Thresholds{Mode: "consecutive", Degraded: UnhealthyCounts{1}, Unhealthy: UnhealthyCounts{1}}}
			a, err := h.Assign(ctx, tx, "shop", id, in, nil)
			if err == nil && (a.Quorum == nil) != (n == 1) {
				err = fmt.Errorf("the quorum is %v", a.Quorum)
			}
			return err
		})
	}
	run := func(source string, status plugins.Status) {
		t.Helper()
		if source == local {
			h.found(t, 1, report("shop", id, status, time.Now()))
		} else {
			h.record(t, source, true, report("shop", id, status, time.Now()))
		}
	}
	quorum(2)
	for i, step := range []struct {
		do   func()
		want plugins.Status
	}{
		{func() { run(local, plugins.Unhealthy) }, unknown},
		{func() { run("east", plugins.Healthy) }, unknown},
		{func() { run("west", plugins.Healthy) }, plugins.Healthy},
		{func() { run("east", plugins.Unhealthy) }, plugins.Unhealthy},
		{func() { run("west", plugins.Unhealthy) }, plugins.Unhealthy},
		{func() { run("west", plugins.Degraded); run(local, plugins.Healthy) }, plugins.Degraded},
		{func() { quorum(3) }, plugins.Healthy},
		{func() { quorum(1) }, plugins.Unhealthy},
		{func() { quorum(2) }, plugins.Degraded},
		{func() {
			commit(t, db, func(ctx context.Context, tx *sql.Tx) error { return h.RemoveSource(ctx, tx, "west") })
		}, plugins.Healthy},
		{func() {
			commit(t, db, func(ctx context.Context, tx *sql.Tx) error { return h.RemoveSource(ctx, tx, "east") })
		}, plugins.Healthy},
		{func() { run(local, plugins.Unhealthy) }, plugins.Unhealthy}, // a quorum of more than there are is all of them
	} {
		step.do()
		if got := value[string](t, db, `select status from healthcheck.assignments`); got != string(step.want) {
			t.Errorf("step %d: it is %s, want %s", i, got, step.want)
		}
	}
	if n := value[int](t, db, `select count(*) from healthcheck.transitions where source_id is null and at < (
		select max(at) from healthcheck.transitions o where o.source_id is null and o.id < transitions.id)`); n != 0 {
		t.Errorf("%d transitions are older than the one before them", n)
	}
}

// What is off is paused at once, and in nothing that it is a part of. When it is on again nobody has looked.
func TestWhatIsTurnedOffIsPausedAndForgottenWhenItIsOnAgain(t *testing.T) {
	db := database(t)
	h, _ := house(t, db, nil)
	h.add(t, "east")
	system := plugins.NewID()
	id := configure(t, db, "test", time.Minute, time.Second, start, system)
	give(t, db, system, id, local, "east")
	execute(t, db, `update healthcheck.assignments set thresholds = $1`, strict)
	if _, err := h.types.add(kind{"test", fine}); err != nil {
		t.Fatal(err)
	}
	assigned := func(enabled bool) {
		t.Helper()
		commit(t, db, func(ctx context.Context, tx *sql.Tx) error {
			in := AssignmentInput{Enabled: &enabled, Thresholds: &Thresholds{Mode: "consecutive", Degraded: UnhealthyCounts{1}, Unhealthy: UnhealthyCounts{1}}}
			_, err := h.Assign(ctx, tx, system, id, in, nil)
			return err
		})
	}
	configured := func(enabled bool) {
		t.Helper()
		in := ConfigurationInput{Name: "Page", Type: "test", Config: []byte(`{}`), IntervalSeconds: 60, TimeoutMs: 1000, Enabled: &enabled}
		if _, err := h.updateConfiguration(checkRequest(t, system, id), in); err != nil {
			t.Fatal(err)
		}
	}
	for i, step := range []struct {
		off, on func()
	}{
		{func() { assigned(false) }, func() { assigned(true) }},
		{func() { configured(false) }, func() { configured(true) }},
		{func() { configured(false); assigned(false); assigned(true) }, func() { configured(true) }},
		{func() { assigned(false); configured(false); configured(true) }, func() { assigned(true) }},
	} {
		h.found(t, 1, report(system, id, plugins.Unhealthy, time.Now()))
		h.record(t, "east", true, report(system, id, plugins.Healthy, time.Now()))
		if got, err := readStatus(t.Context(), db, system); err != nil || got.Status != plugins.Unhealthy {
			t.Fatalf("%d: %+v, %v", i, got, err)
		}
		step.off()
		if got, err := readStatus(t.Context(), db, system); err != nil || got.Status != paused || len(got.Checks) != 0 {
			t.Errorf("%d, off: %+v, %v", i, got, err)
		}
		if got := value[string](t, db, `select status from healthcheck.assignments`); got != "paused" {
			t.Errorf("%d: the check is %s", i, got)
		}
		if checks, err := h.SourceChecks(t.Context(), db, "east"); err != nil || len(checks) != 0 {
			t.Errorf("%d, off: the satellite has %+v, %v", i, checks, err)
		}
		if due, _, err := h.scheduler.claim(t.Context(), 9, 9, new(time.Now().Add(time.Hour))); err != nil || len(due) != 0 {
			t.Errorf("%d, off: claimed %+v, %v", i, due, err)
		}
		h.record(t, "east", true, report(system, id, plugins.Unhealthy, time.Now())) // it was under way
		if got := value[string](t, db, `select status from healthcheck.assignments`); got != "paused" {
			t.Errorf("%d: after a run that was under way the check is %s", i, got)
		}
		step.on()
		got, err := readStatus(t.Context(), db, system)
		if err != nil || got.Status != unknown || len(got.Checks) != 1 || len(got.Checks[0].Sources) != 2 || got.Checks[0].Sources[0].LastRunAt != nil ||
			got.Checks[0].Sources[1].LastRunAt != nil {
			t.Errorf("%d, on: %+v, %v", i, got, err)
		}
	}
	if got := transitions(t, db, nil); strings.Count(got, "unhealthy>paused edit") != 4 || strings.Count(got, "paused>unknown edit") != 4 {
		t.Errorf("the transitions are %s", got)
	}
}

// Two runs of a clock that is fast come together: the newer one is the last.
func TestOfSeveralRunsAheadOfTheClockTheNewestIsTheLast(t *testing.T) {
	db := database(t)
	h := plugin(t, db)
	h.add(t, "east")
	id := configure(t, db, "test", time.Hour, time.Second, start)
	give(t, db, "shop", id, "east")
	first, second := report("shop", id, plugins.Healthy, time.Now().Add(100*time.Second)), report("shop", id, plugins.Unhealthy, time.Now().Add(200*time.Second))
	h.record(t, "east", false, first, second)
	const state = `select last_status || ' ' || seen || ' ' || (last_run_at <= now()) from healthcheck.states`
	if got := value[string](t, db, state); got != "unhealthy 2 true" {
		t.Errorf("the state is %s", got)
	}
}

// Two servers store runs of one check, or one server and the watch change it, at the same time: who waits for the other sees
// what the other has done.
func TestAStateDoesNotMoveBackBecauseAnotherWasBeingWritten(t *testing.T) {
	db := database(t)
	h, _ := house(t, db, nil)
	h.add(t, "east")
	id := configure(t, db, "test", time.Minute, time.Second, start, "shop")
	give(t, db, "shop", id, local, "east")
	execute(t, db, `update healthcheck.assignments set thresholds = $1`, strict)
	settled(t, db)
	h.record(t, "east", true, report("shop", id, plugins.Healthy, start.Add(time.Minute)))
	older := report("shop", id, plugins.Unhealthy, start.Add(3*time.Minute))
	newer := finished{key: key{"shop", id}, run: new(report("shop", id, plugins.Healthy, start.Add(4*time.Minute)))}
	waiting := func(n int) {
		t.Helper()
		const query = `select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`
		for deadline := time.Now().Add(20 * time.Second); value[int](t, db, query) != n; {
			if time.Now().After(deadline) {
				t.Fatal("nobody waits")
			}
		}
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	held, err := h.recorder.keep(t.Context(), tx, []finished{newer}, keepSQL)
	if err != nil {
		t.Fatal(err)
	}
	var both sync.WaitGroup
	both.Go(func() { // the server
		if _, err := h.recorder.store(t.Context(), []finished{{key: newer.key, run: &older}}); err != nil {
			t.Error(err)
		}
	})
	waiting(1)
	both.Go(func() { // a satellite, whose slice becomes stale
		err := plugins.Tx(t.Context(), db, func(tx *sql.Tx) error {
			_, err := h.RecordFrom(t.Context(), tx, "east", []plugins.Run{report("shop", id, plugins.Healthy, time.Now())}, true)
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
	waiting(2)
	if err := h.recorder.settler.advance(t.Context(), tx, held, []plugins.Run{*newer.run}, nil); err != nil {
		t.Fatal(err)
	}
	if more, err := (&watch{settler: h.recorder.settler}).findStale(t.Context(), tx); err != nil || more {
		t.Fatal(more, err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	both.Wait()
	const state = `select status || ' ' || seen || ' ' || (last_run_at = $1) from healthcheck.states where source_id = ''`
	if got := value[string](t, db, state, start.Add(4*time.Minute)); got != "healthy 1 true" {
		t.Errorf("the state is %s", got)
	}
	if got := transitions(t, db, new("")); got != "unknown>healthy run, healthy>stale stale" {
		t.Errorf("the transitions of this server are %s", got)
	}
	if got := transitions(t, db, new("east")); got != "unknown>healthy run, healthy>stale stale, stale>healthy run" {
		t.Errorf("the transitions of the satellite are %s", got)
	}
}
