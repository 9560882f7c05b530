package healthcheck

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"checkstack/plugins"
)

// silentFor moves what was last seen of a system into the past.
func silentFor(t *testing.T, db *sql.DB, system string, ago time.Duration) {
	t.Helper()
	execute(t, db, `update healthcheck.states set last_run_at = now() - make_interval(secs => $2) where system_id = $1`, system, ago.Seconds())
}

// settled makes a configuration as old as those that have always been there.
func settled(t *testing.T, db *sql.DB) {
	t.Helper()
	execute(t, db, `update healthcheck.configurations set updated_at = now() - interval '1 year'`)
}

func TestASliceIsStaleAfterThreeIntervalsAnd15SecondsAtLeast(t *testing.T) {
	db := database(t)
	h, _ := house(t, db, nil)
	for _, test := range []struct {
		interval, timeout, silent time.Duration
		want                      plugins.Status
	}{
		{time.Second, 2 * time.Second, 16 * time.Second, plugins.Healthy},
		{time.Second, 2 * time.Second, 18 * time.Second, stale},
		{time.Minute, 30 * time.Second, 209 * time.Second, plugins.Healthy},
		{time.Minute, 30 * time.Second, 211 * time.Second, stale},
		{24 * time.Hour, 30 * time.Second, 72 * time.Hour, plugins.Healthy},
	} {
		system := fmt.Sprint(test)
		id := configure(t, db, "test", test.interval, test.timeout, start, system)
		settled(t, db)
		h.found(t, 1, report(system, id, plugins.Healthy, time.Now()))
		silentFor(t, db, system, test.silent)
		watches(t, h)
		got, err := readStatus(t.Context(), db, system)
		if err != nil || got.Status != test.want || got.Checks[0].Sources[0].LastStatus != plugins.Healthy {
			t.Errorf("%+v: %+v, %v", test, got, err)
		}
	}
}

func TestStaleBeginsAndEndsOnce(t *testing.T) {
	db := database(t)
	h, _ := house(t, db, nil)
	h.add(t, "east")
	id := configure(t, db, "test", time.Minute, time.Second, start, "shop")
	rename(t, db, id, "page")
	give(t, db, "shop", id, local, "east")
	settled(t, db)
	for range 4 { // four failures are remembered, and make it degraded
		h.found(t, 1, report("shop", id, plugins.Unhealthy, time.Now()))
	}
	h.record(t, "east", true, report("shop", id, plugins.Healthy, time.Now()))
	silentFor(t, db, "shop", 182*time.Second)
	for range 3 {
		watches(t, h)
	}
	h.record(t, "east", true, report("shop", id, plugins.Healthy, time.Now()))
	h.found(t, 2, report("shop", id, plugins.Unhealthy, time.Now())) // the fifth
	for source, want := range map[string]string{
		"":     "unknown>degraded run, degraded>stale stale, stale>unhealthy run",
		"east": "unknown>healthy run, healthy>stale stale, stale>healthy run",
	} {
		if got := transitions(t, db, &source); got != want {
			t.Errorf("the transitions of %q are %s, want %s", source, got, want)
		}
	}
	if got := transitions(t, db, nil); got != "unknown>degraded run, degraded>stale stale, stale>unhealthy run" {
		t.Errorf("the transitions are %s", got)
	}
	if got := told(t, db); got != "warning: page is degraded, warning: page is stale, critical: page is unhealthy" {
		t.Errorf("people are told %s", got)
	}
}

func TestNothingIsStaleThatIsNotToBeMade(t *testing.T) {
	db := database(t)
	h, _ := house(t, db, nil)
	h.add(t, "east")
	id := configure(t, db, "test", time.Minute, time.Second, start, "off", "held")
	held := configure(t, db, "test", time.Minute, time.Second, start, "held")
	give(t, db, "away", id, "east")
	settled(t, db)
	h.found(t, 1, report("off", id, plugins.Healthy, time.Now()), report("held", held, plugins.Healthy, time.Now()))
	h.record(t, "east", true, report("away", id, plugins.Healthy, time.Now()))
	execute(t, db, `update healthcheck.states set last_run_at = now() - interval '1 day'`)
	execute(t, db, `update healthcheck.assignments set enabled = false where system_id = 'off'`)
	execute(t, db, `update healthcheck.assignments set held = true where configuration_id = $1`, held)
	commit(t, db, func(ctx context.Context, tx *sql.Tx) error { return h.SetSourceOffline(ctx, tx, "east", &start) })
	watches(t, h)
	if n := value[int](t, db, `select count(*) from healthcheck.states where stale_since is not null`); n != 0 {
		t.Errorf("%d slices are stale", n)
	}
	if got := transitions(t, db, nil); got != "unknown>healthy run, unknown>healthy run, unknown>healthy run, healthy>unknown source" {
		t.Errorf("the transitions are %s", got)
	}
	// It is back, and has not had the time to report.
	commit(t, db, func(ctx context.Context, tx *sql.Tx) error { return h.SetSourceOffline(ctx, tx, "east", nil) })
	watches(t, h)
	if got := transitions(t, db, new("east")); got != "unknown>healthy run" {
		t.Errorf("when it is back the transitions are %s", got)
	}
	execute(t, db, `update healthcheck.sources set online_since = now() - interval '182 seconds'`)
	watches(t, h)
	if got := transitions(t, db, new("east")); got != "unknown>healthy run, healthy>stale stale" {
		t.Errorf("when it has been back for long the transitions are %s", got)
	}
}

// A check of a day that becomes one of a minute has not been silent for three minutes, and has not run yet either.
func TestAShorterIntervalMakesNothingStaleAtOnce(t *testing.T) {
	db := database(t)
	h, _ := house(t, db, nil)
	system := plugins.NewID()
	id := configure(t, db, "test", 24*time.Hour, time.Second, start, system)
	if _, err := h.types.add(kind{"test", fine}); err != nil {
		t.Fatal(err)
	}
	h.found(t, 1, report(system, id, plugins.Healthy, time.Now()))
	silentFor(t, db, system, 20*time.Hour)
	in := ConfigurationInput{Name: "Often", Type: "test", Config: []byte(`{}`), IntervalSeconds: 60, TimeoutMs: 1000}
	if _, err := h.updateConfiguration(checkRequest(t, system, id), in); err != nil {
		t.Fatal(err)
	}
	watches(t, h)
	if got := transitions(t, db, nil); got != "unknown>healthy run" {
		t.Errorf("the transitions are %s", got)
	}
	execute(t, db, `update healthcheck.configurations set updated_at = now() - interval '182 seconds'`)
	watches(t, h)
	if got := transitions(t, db, nil); got != "unknown>healthy run, healthy>stale stale" {
		t.Errorf("three minutes later the transitions are %s", got)
	}
}

func TestASourceThatComesOrGoesSettlesItsChecksOnce(t *testing.T) {
	db := database(t)
	h, _ := house(t, db, nil)
	h.add(t, "east", "west")
	id := configure(t, db, "test", time.Minute, time.Second, start)
	rename(t, db, id, "page")
	give(t, db, "a", id, "east")
	give(t, db, "b", id, "east", "west")
	for _, system := range []string{"a", "b"} {
		execute(t, db, `update healthcheck.assignments set thresholds = $1`, strict)
		h.record(t, "east", true, report(system, id, plugins.Unhealthy, time.Now()))
	}
	h.record(t, "west", true, report("b", id, plugins.Healthy, time.Now()))
	set := func(since *time.Time) {
		commit(t, db, func(ctx context.Context, tx *sql.Tx) error { return h.SetSourceOffline(ctx, tx, "east", since) })
	}
	watches(t, h)
	set(&start)
	set(new(start.Add(time.Hour))) // it was longer than was thought
	if got, err := readStatus(t.Context(), db, "a"); err != nil || got.Checks[0].Sources[0].Status != unknown {
		t.Errorf("before the watch has looked: %+v, %v", got, err)
	}
	for range 2 {
		watches(t, h)
	}
	for _, system := range []string{"a", "b"} {
		if got, err := readStatus(t.Context(), db, system); err != nil || got.Status != unknown {
			t.Errorf("%s, offline: %+v, %v", system, got, err)
		}
	}
	set(nil)
	for range 2 {
		watches(t, h)
	}
	const of = `select string_agg(from_status || '>' || to_status || ' ' || cause, ', ' order by id) from healthcheck.transitions
		where source_id is null and system_id = $1`
	for _, system := range []string{"a", "b"} {
		if got := value[string](t, db, of, system); got != "unknown>unhealthy run, unhealthy>unknown source, unknown>unhealthy source" {
			t.Errorf("the transitions of %s are %s", system, got)
		}
	}
	const order = `select count(*) from healthcheck.transitions t where exists (select from healthcheck.transitions o
		where o.system_id = t.system_id and o.source_id is null and t.source_id is null and o.id < t.id and o.at > t.at)`
	if n := value[int](t, db, order); n != 0 {
		t.Errorf("%d transitions are older than one before them", n)
	}
	if value[bool](t, db, `select bool_or(unsettled) from healthcheck.sources`) {
		t.Error("a source is not settled")
	}
}

// While nobody watches no result and no report can come: neither is held against anything.
func TestTimeThatNobodyWatchedIsHeldAgainstNothing(t *testing.T) {
	db := database(t)
	h, _ := house(t, db, nil)
	id := configure(t, db, "test", time.Minute, time.Second, start, "shop")
	beat := configure(t, db, heartbeat, time.Minute, time.Second, start, "backup")
	if _, err := h.types.add(newHeartbeat()); err != nil {
		t.Fatal(err)
	}
	settled(t, db)
	h.found(t, 1, report("shop", id, plugins.Healthy, time.Now()))
	execute(t, db, `update healthcheck.states set last_run_at = now() - interval '1 hour'`)
	due := time.Now().Add(-59 * time.Minute).Truncate(time.Second)
	execute(t, db, `update healthcheck.assignments set due_at = $1, next_run_at = $1`, due)
	execute(t, db, `update healthcheck.watch set seen_at = now() - interval '1 hour'`)
	if all, _, err := h.scheduler.claim(t.Context(), 9, 9, nil); err != nil || len(all) != 0 { // of types that are here
		t.Errorf("while nobody has watched %+v is claimed, %v", all, err)
	}
	var log lines
	w := &watch{db: db, log: slog.New(slog.NewTextHandler(&log, nil)), settler: h.recorder.settler}
	for range 2 {
		if err := w.look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	log.await(t, `nobody watched whether results come" for=1h0m0s`, 1)
	if n := value[int](t, db, `select count(*) from healthcheck.states where stale_since is not null`); n != 0 {
		t.Error("something is stale")
	}
	const shifted = `select extract(epoch from due_at - $2)::float8 from healthcheck.assignments where configuration_id = $1`
	for configuration, want := range map[string]float64{id: 0, beat: 3600} {
		if got := value[float64](t, db, shifted, configuration, due); got < want || got > want+60 {
			t.Errorf("a check is due %v s later, want %v s", got, want)
		}
	}
	w.patient = time.Now()
	if err := w.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := transitions(t, db, nil); got != "unknown>healthy run, healthy>stale stale" {
		t.Errorf("after the grace the transitions are %s", got)
	}
}

func TestOneServerHasTheWatch(t *testing.T) {
	db := database(t)
	h, _ := house(t, db, nil)
	id := configure(t, db, "test", time.Minute, time.Second, start, "shop")
	settled(t, db)
	h.found(t, 1, report("shop", id, plugins.Healthy, time.Now()))
	silentFor(t, db, "shop", time.Hour)
	other, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Rollback()
	if err := other.QueryRowContext(t.Context(), watchSQL).Scan(new(float64)); err != nil {
		t.Fatal(err)
	}
	w := &watch{db: db, log: h.host.Log, settler: h.recorder.settler}
	if err := w.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := transitions(t, db, nil); got != "unknown>healthy run" {
		t.Errorf("while another server has the watch the transitions are %s", got)
	}
	if err := other.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := w.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := transitions(t, db, nil); got != "unknown>healthy run, healthy>stale stale" {
		t.Errorf("when it is free the transitions are %s", got)
	}
}

func TestWhatIsOldIsForgotten(t *testing.T) {
	db := database(t)
	h, _ := house(t, db, nil)
	id := configure(t, db, "test", time.Minute, time.Second, start, "shop")
	for i, days := range []int{366, 364} {
		execute(t, db, `insert into healthcheck.transitions (system_id, configuration_id, from_status, to_status, at, cause)
			values ('shop', $1, 'healthy', $2, now() - make_interval(days => $3), 'run')`, id, fmt.Sprint(i), days)
	}
	for i, ended := range []*int{new(31), new(29), nil} {
		execute(t, db, `insert into healthcheck.errors (system_id, configuration_id, began_at, last_at, ended_at, runs, message)
			values ('shop', $1, now() - interval '60 days' + make_interval(secs => $2), now(), now() - make_interval(days => $3), 1, $4)`,
			id, i, ended, fmt.Sprint(i))
	}
	w := watches(t, h)
	w.expired = time.Time{}
	if err := w.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	const left = `select (select string_agg(to_status, ',') from healthcheck.transitions) || ' ' || (select string_agg(message, ',' order by message) from healthcheck.errors)`
	if got := value[string](t, db, left); got != "1 1,2" {
		t.Errorf("left are %s", got)
	}
}
