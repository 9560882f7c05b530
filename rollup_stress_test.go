// The roll-up among other roll-ups, late recorders and killed connections.

package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/sql/record"
	"checkstack/sql/series"
)

func TestThreeRollupsAtOnceMoveEachHourOnce(t *testing.T) {
	l := newLedger(t)
	l.backdate(l.random(5000, past, 20*day)...)
	hours := l.count(`select count(*) from checkstack.health_check_aggregates`)
	var mu sync.Mutex
	var total RollupSummary
	var replicas sync.WaitGroup
	finished := 0
	for range 3 {
		replicas.Go(func() {
			s, err := l.Rollup(t.Context(), past.Add(60*day))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if !s.Skipped {
				finished++
			}
			total.HourlyRowsMoved += s.HourlyRowsMoved
			total.DailyRowsInserted += s.DailyRowsInserted
			total.DailyRowsMerged += s.DailyRowsMerged
			total.RunsExpired += s.RunsExpired
		})
	}
	replicas.Wait()
	days := l.count(`select count(*) from checkstack.health_check_aggregates where bucket_size = 'daily'`)
	if want := (RollupSummary{HourlyRowsMoved: hours, DailyRowsInserted: days, RunsExpired: 5000}); total != want || finished == 0 {
		t.Errorf("%d finished\n got %+v\nwant %+v", finished, total, want)
	}
	l.verify()

	tx, err := l.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec(rollupTurnSQL); err != nil {
		t.Fatal(err)
	}
	if got := l.roll(past.Add(60 * day)); got != (RollupSummary{Skipped: true}) {
		t.Errorf("while another one is at it: %+v", got)
	}
}

// moveAll moves all hours of a day that are due at now in one transaction, and returns how many.
func (l *ledger) moveAll(tx *sql.Tx, day, now time.Time) (moved int64, err error) {
	if _, err := tx.Exec(rollupLockDaySQL, record.LockKey(day)); err != nil {
		return 0, err
	}
	var inserted, merged int64
	err = tx.QueryRow(rollupPartSQL, series.Timestamp(day), series.Timestamp(now), l.keep.HourlyDays, "", "zzz").Scan(&moved, &inserted, &merged)
	return moved, err
}

func TestRollupAndRecordersKilledAtAnyMomentLoseNothing(t *testing.T) {
	l := newLedger(t)
	l.backdate(l.random(20_000, past, 40*day)...)
	killer, err := sql.Open("postgres", l.url)
	if err != nil {
		t.Fatal(err)
	}
	defer killer.Close()
	late := l.random(600, past, 40*day)
	l.partitions(late...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var work sync.WaitGroup
	var kills, failures atomic.Int64
	work.Go(func() { // sends every batch until it knows that it was stored, and some of them again
		for i := 0; i < len(late) || kills.Load() < 50 || failures.Load() < 30; i += 20 {
			chunk := late[i%len(late):][:20]
			for {
				err := plugins.Tx(ctx, l.db, func(tx *sql.Tx) error {
					_, err := l.ever.Record(ctx, tx, chunk)
					return err
				})
				if err == nil || ctx.Err() != nil {
					break
				}
				failures.Add(1)
			}
		}
		cancel()
	})
	work.Go(func() {
		for round := 1; ctx.Err() == nil; round++ { // ever more rarely, so that it ends on a slow machine too
			var n int64
			err := killer.QueryRow(`with nap as materialized (select pg_sleep(random() * (0.01 + 0.0002 * $1)) as done)
				select count(pg_terminate_backend(a.pid)) from nap, pg_stat_activity a
				where a.datname = current_database() and a.pid <> pg_backend_pid() and a.state <> 'idle' and nap.done is not null`, round).Scan(&n)
			if err != nil {
				t.Error(err)
				return
			}
			kills.Add(n)
		}
	})
	at := past.Add(31 * day)
	for ctx.Err() == nil { // the moves alone: with the raw runs gone too, what is sent again would be counted again
		if err := l.turn(context.Background(), func(tx *sql.Tx) error {
			_, err := l.moveAll(tx, at.Add(-31*day), at)
			return err
		}); err != nil {
			failures.Add(1)
		}
		if at = at.Add(day); at.After(past.Add(71 * day)) {
			at = past.Add(31 * day)
		}
	}
	work.Wait()
	t.Logf("%d connections killed, %d transactions failed", kills.Load(), failures.Load())
	l.all = append(l.all, late...)
	l.db.SetMaxIdleConns(0) // the ones that were killed while nobody used them
	l.verify()

	// And whole roll-ups, which delete raw runs too, until one comes to its end.
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	work.Go(func() {
		for n := 1; ctx.Err() == nil; n++ { // ever more rarely, so that one comes to its end
			if _, err := killer.Exec(`
				select pg_terminate_backend(a.pid)
				from (select pg_sleep(random() * 0.002 * $1) as done offset 0) nap, pg_stat_activity a
				where a.datname = current_database() and a.pid <> pg_backend_pid() and nap.done is not null`, n); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for failed := 0; ; failed++ {
		if s, err := l.Rollup(t.Context(), past.Add(100*day)); err == nil && !s.Skipped {
			t.Logf("%d roll-ups failed before the last", failed)
			break
		}
	}
	cancel()
	work.Wait()
	l.db.SetMaxIdleConns(0) // the ones that were killed while nobody used them
	l.verify()
	if n := l.count(`select (select count(*) from checkstack.health_check_aggregates where bucket_size = 'hourly')
		+ (select count(*) from checkstack.health_check_runs)`); n != 0 {
		t.Errorf("%d rows left", n)
	}
}

func TestLateRunsAndTheirRollupDoNotDisturbEachOther(t *testing.T) {
	l := newLedger(t)
	now := time.Now().UTC()
	for check := range 2 { // late is what is older than 6 days; it must not be older than the raw retention
		for _, system := range []string{"shop", "mail"} {
			l.exec(`insert into checkstack.health_check_retention values ($1, $2, 30, 31, 365)`, system, aCheck(check))
		}
	}
	if err := l.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	var left atomic.Int64
	left.Store(4)
	for w := range 4 {
		runs := l.random(6000, now.Add(-12*day), 5*day)
		l.all = append(l.all, runs...)
		writers.Go(func() {
			defer left.Add(-1)
			for chunk := range slices.Chunk(runs, 100) {
				var done plugins.Recorded
				err := transaction(l.db, func(tx *sql.Tx) (err error) {
					done, err = l.Record(t.Context(), tx, chunk)
					return err
				})
				if err != nil || done.Stored != len(chunk) {
					t.Errorf("writer %d: %+v, %v", w, done, err)
					return
				}
			}
		})
	}
	// Ahead of its time, but not so far that raw runs go.
	rollups, moved := 0, int64(0)
	for left.Load() > 0 {
		for d := range 7 {
			start := now.Truncate(day).Add(time.Duration(d-13) * day)
			var n int64
			err := transaction(l.db, func(tx *sql.Tx) (err error) {
				n, err = l.moveAll(tx, start, now.Add(40*day))
				return err
			})
			if err != nil {
				t.Errorf("roll-up: %v", err)
			}
			moved += n
			rollups++
		}
	}
	writers.Wait()
	t.Logf("%d roll-ups moved %d rows", rollups, moved)
	l.verify()
}

func TestRollupEndsWithItsContextAndChangesNothing(t *testing.T) {
	l := newLedger(t)
	l.backdate(l.random(100, past, day)...)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Rollup(ctx, past.Add(60*day)); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
	if n := l.count(`select count(*) from checkstack.health_check_aggregates where bucket_size = 'daily'`); n != 0 {
		t.Errorf("%d days made", n)
	}
}

// logged passes on each message that is logged.
type logged chan string

func (c logged) Write(p []byte) (int, error) {
	c <- string(p)
	return len(p), nil
}

func TestRunRollsUpAgainAndAgainAlsoAfterAFailure(t *testing.T) {
	l := newLedger(t)
	said := make(logged, 100)
	l.log = slog.New(slog.NewTextHandler(said, nil))
	l.first, l.every = time.Millisecond, time.Millisecond
	l.backdate(l.random(100, past, day)...)
	l.exec(`alter table checkstack.health_check_retention rename to away`)
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() { l.run(ctx) })
	for _, what := range []string{"week to come", "roll-up failed"} {
		if s := <-said; !strings.Contains(s, "level=ERROR") || !strings.Contains(s, what) ||
			!strings.Contains(s, "42P01") && !strings.Contains(s, "does not exist") {
			t.Errorf("said %s", s)
		}
	}
	l.exec(`alter table checkstack.away rename to health_check_retention`)
	for s := range said {
		if strings.Contains(s, "msg=\"rolled up\"") {
			break
		}
	}
	cancel()
	go func() {
		work.Wait()
		close(said)
	}()
	for range said { // until it has ended
	}
	got := map[string]float64{}
	l.metrics(func(name, _, _ string, v float64) { got[name] = v })
	if got["rollup_failures_total"] < 1 || got["rollups_total"] < 1 || got["rollup_hourly_rows_total"] < 24 ||
		time.Since(time.Unix(int64(got["rollup_last_success_seconds"]), 0)) > time.Minute {
		t.Errorf("metrics: %v", got)
	}
	l.verify()
}

func TestProgressIsLoggedEveryFiveSecondsAndIsALineOnATerminal(t *testing.T) {
	var said bytes.Buffer
	r := rolling{history: &history{log: slog.New(slog.NewTextHandler(&said, nil))}, told: time.Now()}
	r.done = RollupSummary{Days: 3, HourlyRowsMoved: 120, DailyRowsExpired: 4, RunsExpired: 5}
	r.daysLeft.Store(7)
	r.hoursLeft.Store(80)
	r.tell(t.Context())
	if said.Len() != 0 {
		t.Errorf("said at once: %s", &said)
	}
	r.told = r.told.Add(-5 * time.Second)
	r.tell(t.Context())
	r.tell(t.Context())
	if text := said.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "done.hourlyRowsMoved=120") ||
		!strings.Contains(text, "daysLeft=7 hoursOfDayLeft=80") {
		t.Errorf("said %s", text)
	}

	var terminal bytes.Buffer
	tell, erase := line(&terminal)
	r.progress, r.told = tell, time.Time{}
	r.tell(t.Context())
	r.tell(t.Context()) // too soon
	erase()
	const want = "\r\x1b[K3 of 10 days, 120 hours moved; 4 days and 5 runs expired\r\x1b[K"
	if terminal.String() != want {
		t.Errorf("wrote %q, want %q", &terminal, want)
	}
	if strings.Count(said.String(), "\n") != 1 {
		t.Errorf("the log was told too: %s", &said)
	}
}
