// The partitions of raw runs: where each run is, what is made when, and what is dropped when.

package main

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"checkstack/plugins"
	"checkstack/sql/postgres"
	"checkstack/sql/postgres/postgrestest"
	"checkstack/sql/series"
)

// partitioned lists the partitions as name, begin and end, in order.
func (l *ledger) partitioned() []string {
	l.t.Helper()
	list, err := plugins.Rows(l.t.Context(), l.db, func(row plugins.Row) (s string, err error) {
		err = row.Scan(&s)
		return s, err
	}, `select name || ' ' || (since at time zone 'UTC') || ' ' || (until at time zone 'UTC')
		from checkstack.run_partitions() order by until`)
	if err != nil {
		l.t.Fatal(err)
	}
	return list
}

func (l *ledger) dropPartitions() {
	l.t.Helper()
	for _, p := range l.partitioned() {
		l.exec("drop table checkstack." + strings.Fields(p)[0])
	}
}

// daily is what partitioned says of one partition for each day from the first to the last.
func daily(first, last time.Time) (list []string) {
	for d := first.UTC().Truncate(day); !d.After(last); d = d.Add(day) {
		list = append(list, fmt.Sprintf("health_check_runs_%s %s %s", d.Format("20060102"), d.Format(time.DateTime), d.Add(day).Format(time.DateTime)))
	}
	return list
}

// in says in which partition a run is.
func (l *ledger) in(r plugins.Run) (name string) {
	l.t.Helper()
	err := l.db.QueryRow(`select tableoid::regclass from checkstack.health_check_runs where run_id = $1`, r.ID).Scan(&name)
	if err != nil {
		l.t.Fatalf("%v: %v", r.ExecutedAt, err)
	}
	return strings.TrimPrefix(name, "checkstack.")
}

// elsewhere opens the same database with sessions in another time zone.
func (l *ledger) elsewhere(zone string) *sql.DB {
	l.t.Helper()
	url := l.url + " timezone=" + zone
	if strings.Contains(l.url, "://") {
		url = l.url + "?timezone=" + zone
		if strings.Contains(l.url, "?") {
			url = l.url + "&timezone=" + zone
		}
	}
	db, err := sql.Open("postgres", url)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { db.Close() })
	var set string
	if err := db.QueryRow("show timezone").Scan(&set); err != nil || set != zone {
		l.t.Fatal(set, err)
	}
	return db
}

func TestEachRunIsInThePartitionOfItsUTCDay(t *testing.T) {
	l := newLedger(t)
	l.dropPartitions()
	// Made by sessions whose days begin at other times, one of them on the day its clocks change.
	november := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for zone, d := range map[string]time.Time{"America/St_Johns": past, "Pacific/Kiritimati": past.Add(day),
		"America/New_York": november, "Europe/Berlin": november.Add(day)} {
		_, err := l.elsewhere(zone).Exec(`select checkstack.make_run_partitions($1, $1)`, series.Timestamp(d.Add(23*time.Hour)))
		if err != nil {
			t.Fatal(zone, err)
		}
	}
	want := append(daily(past, past.Add(day)), daily(november, november.Add(day))...)
	if got := l.partitioned(); !slices.Equal(got, want) {
		t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for at, want := range map[time.Time]string{
		past:                                "health_check_runs_20260110",
		past.Add(day - time.Microsecond):    "health_check_runs_20260110",
		past.Add(day):                       "health_check_runs_20260111",
		november.Add(2*day - 1):             "health_check_runs_20261102",
		november.Add(day):                   "health_check_runs_20261102",
		november.Add(day - time.Nanosecond): "health_check_runs_20261101",
	} {
		r := aRun("shop", 1, "", plugins.Healthy, 5, at)
		l.backdate(r)
		if got := l.in(r); got != want {
			t.Errorf("%v is in %s, want %s", at, got, want)
		}
	}
	_, err := l.db.Exec(`insert into checkstack.health_check_runs (system_id, run_id, executed_at, configuration_id, status, received_at)
		values ('x', gen_random_uuid(), $1, gen_random_uuid(), 'healthy', now())`, series.Timestamp(past.Add(2*day)))
	if plugins.SQLState(err) != "23514" {
		t.Errorf("a run without a partition: %v", err)
	}
}

func migration(t *testing.T, name string) string {
	t.Helper()
	text, err := fs.ReadFile(coreMigrations(), name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestRunsRecordedBeforeThereWerePartitionsAreKept(t *testing.T) {
	first := fstest.MapFS{"0001_history.sql": {Data: []byte(migration(t, "0001_history.sql"))}}
	for _, test := range []struct {
		name   string
		newest time.Duration // its age
	}{{"as many as there are", 0}, {"with one of a server whose clock was ahead", -25 * time.Hour}} {
		t.Run(test.name, func(t *testing.T) {
			db, url := postgrestest.New(t, postgres.Set{ID: "checkstack", Files: first})
			l := &ledger{history: newHistory(db, slog.New(slog.DiscardHandler)), t: t, url: url}
			now := time.Now().UTC()
			newest := now.Add(-test.newest).Truncate(time.Microsecond)
			var runs []plugins.Run
			for age := range 9 {
				runs = append(runs, aRun("shop", 1, "", plugins.Healthy, 5, newest.Add(-time.Duration(age)*day)))
			}
			for _, r := range runs {
				l.exec(`insert into checkstack.health_check_runs
						(system_id, run_id, executed_at, configuration_id, status, latency_ms, received_at)
					values ($1, $2, $3, $4, 'healthy', 5, now())`, r.SystemID, r.ID, series.Timestamp(r.ExecutedAt), r.ConfigurationID)
			}
			l.exec(`insert into checkstack.health_check_retention values ('shop', $1, 6, 30, 365)`, aCheck(2))
			if err := postgres.Migrate(t.Context(), db, nil, postgres.Set{ID: "checkstack", Files: coreMigrations()}); err != nil {
				t.Fatal(err)
			}
			bound := newest.Truncate(day).Add(day)
			if bound.Before(now) {
				bound = now.Truncate(day).Add(day)
			}
			want := append([]string{"health_check_runs_old -infinity " + bound.Format(time.DateTime)}, daily(bound, now.Add(7*day))...)
			if got := l.partitioned(); !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if n := l.count(`select count(*) from checkstack.health_check_runs`); n != 9 {
				t.Errorf("%d runs, want 9", n)
			}

			// What was there is known, what is new is stored, in whichever partition.
			tomorrow := aRun("shop", 1, "", plugins.Healthy, 5, now.Add(4*time.Minute))
			late := aRun("shop", 1, "", plugins.Healthy, 5, now.Add(-3*day))
			if got := l.record(append(runs[2:7:7], tomorrow, late)...); got.Known != 5 || got.Stored != 2 {
				t.Errorf("recorded %+v", got)
			}
			if r, err := l.Retention(t.Context(), "shop", aCheck(2)); err != nil || r.RawDays != 6 {
				t.Errorf("retention: %+v, %v", r, err)
			}

			// All of it goes when the last of it has expired, not before.
			if s := l.roll(bound.Add(7*day + time.Hour - time.Microsecond)); s.RunsExpired != 0 {
				t.Errorf("too early: %+v", s)
			}
			if s := l.roll(bound.Add(7*day + time.Hour)); s.RunsExpired < 10 { // and 11 if tomorrow is in the same
				t.Errorf("after all has expired: %+v", s)
			}
			if got := l.partitioned(); !slices.Equal(got, daily(now.Add(-7*day-time.Hour), now.Add(7*day))) { // by the clock, which is behind
				t.Errorf("then:\n%s", strings.Join(got, "\n"))
			}
		})
	}
	l := newLedger(t)
	if got := l.partitioned()[0]; strings.Contains(got, "old") {
		t.Errorf("a table without runs was kept: %s", got)
	}
}

func TestPartitionsThatAreMissingAfterARestoreAreMade(t *testing.T) {
	l := newLedger(t)
	now := time.Now().UTC()
	lose := func() { // as in a backup of 20 days ago
		l.dropPartitions()
		l.exec(`select checkstack.make_run_partitions($1, $2)`, series.Timestamp(now.Add(-28*day)), series.Timestamp(now.Add(-13*day)))
	}
	before := daily(now.Add(-28*day), now.Add(-13*day))
	want := append(before[:len(before):len(before)], daily(now.Add(-7*day-time.Hour), now.Add(7*day))...)

	lose()
	if err := l.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := l.partitioned(); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	// Whoever records first makes them, also if many do at once, and nothing is lost or counted twice.
	lose()
	l.all = l.random(2000, now.Add(-7*day+time.Hour), 7*day-time.Hour)
	var recorders sync.WaitGroup
	for chunk := range slices.Chunk(l.all, 100) {
		recorders.Go(func() {
			if done := l.record(chunk...); done.Stored != len(chunk) {
				t.Errorf("%+v", done)
			}
		})
	}
	recorders.Wait()
	l.verify()
	if got := l.partitioned(); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	// A check that is kept longer needs more of them.
	l.exec(`insert into checkstack.health_check_retention values ('bank', $1, 30, 90, 365)`, aCheck(1))
	if got := l.record(aRun("bank", 1, "", plugins.Healthy, 5, now.Add(-30*day+time.Minute))); got.Stored != 1 {
		t.Errorf("a run of 30 days ago: %+v", got)
	}
	if got := l.partitioned(); !slices.Equal(got, daily(now.Add(-30*day-time.Hour), now.Add(7*day))) {
		t.Errorf("for 30 days:\n%s", strings.Join(got, "\n"))
	}
}

func TestServersThatRacePreparePartitionsOnce(t *testing.T) {
	l := newLedger(t)
	now := time.Now().UTC()
	for range 3 {
		l.dropPartitions()
		var servers sync.WaitGroup
		for range 8 {
			servers.Go(func() {
				if err := l.Prepare(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		for range 2 {
			servers.Go(func() {
				if _, err := l.Rollup(t.Context(), time.Time{}); err != nil {
					t.Error(err)
				}
			})
		}
		servers.Wait()
		if got, want := l.partitioned(), daily(now.Add(-7*day-time.Hour), now.Add(7*day)); !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

func TestRunsOfTheOldestHourThatIsAcceptedAreStored(t *testing.T) {
	l := newLedger(t)
	l.exec(`insert into checkstack.health_check_retention values ('bank', $1, 30, 60, 365)`, aCheck(1))
	now := time.Now()
	if _, err := l.Rollup(t.Context(), now); err != nil { // drops what it may, and makes what it must
		t.Fatal(err)
	}
	for system, raw := range map[string]time.Duration{"shop": 7 * day, "bank": 30 * day} {
		for _, age := range []time.Duration{raw - time.Minute, raw - 59*time.Minute} {
			r := aRun(system, 1, "", plugins.Healthy, 5, now.Add(-age))
			for i, stored := range []int{1, 0} {
				if got := l.record(r); got.Stored != stored || got.Known != i {
					t.Errorf("%s, %v ago, sent %d times: %+v", system, age, i+1, got)
				}
			}
			if got, want := l.in(r), "health_check_runs_"+now.Add(-age).UTC().Format("20060102"); got != want {
				t.Errorf("%s, %v ago, is in %s, want %s", system, age, got, want)
			}
		}
		if got := l.record(aRun(system, 1, "", plugins.Healthy, 5, now.Add(-raw-time.Minute))); len(got.Refused) != 1 {
			t.Errorf("%s, older than %v: %+v", system, raw, got)
		}
	}
}

func TestPartitionsAreDroppedWhenTheLongestRetentionHasPassed(t *testing.T) {
	l := newLedger(t)
	l.exec(`insert into checkstack.health_check_retention values ('long', $1, 20, 30, 365), ('short', $1, 2, 30, 365)`, aCheck(1))
	l.exec(`select checkstack.make_run_partitions($1, $2)`, past, past.Add(day))
	l.exec(`insert into checkstack.health_check_runs (system_id, run_id, executed_at, configuration_id, status, received_at)
		select s, gen_random_uuid(), $1::timestamptz + h * interval '1 hour', $2, 'healthy', now()
		from generate_series(0, 47) h, unnest('{long,shop,short}'::text[]) s`, past, aCheck(1))
	left := func() string {
		t.Helper()
		days := slices.DeleteFunc(l.partitioned(), func(p string) bool { return !strings.Contains(p, "_202601") })
		return fmt.Sprintf("%d days, %d long, %d shop, %d short", len(days),
			l.count(`select count(*) from checkstack.health_check_runs where system_id = 'long'`),
			l.count(`select count(*) from checkstack.health_check_runs where system_id = 'shop'`),
			l.count(`select count(*) from checkstack.health_check_runs where system_id = 'short'`))
	}
	for _, step := range []struct {
		age     time.Duration // since the begin of the two days
		expired int64
		want    string
	}{
		{2*day + time.Hour, 0, "2 days, 48 long, 48 shop, 48 short"},
		{2*day + 5*time.Hour, 4, "2 days, 48 long, 48 shop, 44 short"}, // by the hour
		{7*day + 3*time.Hour, 46, "2 days, 48 long, 46 shop, 0 short"},
		{20*day + 12*time.Hour, 46, "2 days, 48 long, 0 shop, 0 short"},
		{21*day + time.Hour - time.Microsecond, 0, "2 days, 48 long, 0 shop, 0 short"},
		{21*day + time.Hour, 24, "1 days, 24 long, 0 shop, 0 short"}, // by the day
		{22*day + 2*time.Hour, 24, "0 days, 0 long, 0 shop, 0 short"},
	} {
		if s := l.roll(past.Add(step.age)); s != (RollupSummary{RunsExpired: step.expired}) {
			t.Errorf("after %v: %+v, want %d expired", step.age, s, step.expired)
		}
		if got := left(); got != step.want {
			t.Errorf("after %v: %s, want %s", step.age, got, step.want)
		}
	}
}

func TestAPartitionInUseIsDroppedLaterAndHoldsNobodyUp(t *testing.T) {
	l := newLedger(t)
	var said bytes.Buffer
	l.log = slog.New(slog.NewTextHandler(&said, nil))
	l.backdate(l.random(300, past, 3*day)...)
	reader, err := l.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Rollback()
	var n int
	if err := reader.QueryRow(`select count(*) from checkstack.health_check_runs`).Scan(&n); err != nil || n != 300 {
		t.Fatal(n, err)
	}
	stop := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() { // waits as long as the drop does, and goes on
		for recorded := 0; ; recorded++ {
			select {
			case <-stop:
				if recorded == 0 {
					t.Error("nothing was recorded")
				}
				return
			default:
				l.record(aRun("shop", 1, "", plugins.Healthy, 5, time.Now()))
				l.Runs(context.Background(), plugins.RunsQuery{SystemID: "shop", Limit: 1})
			}
		}
	})
	s := l.roll(past.Add(60 * day))
	close(stop)
	others.Wait()
	if s.Days != 3 || s.HourlyRowsMoved == 0 || s.RunsExpired != 0 || s.Skipped {
		t.Errorf("while somebody reads: %+v", s)
	}
	if text := said.String(); strings.Count(text, "level=WARN") != 1 || !strings.Contains(text, "55P03") {
		t.Errorf("said %s", text)
	}
	err = reader.QueryRow(`select count(*) from checkstack.health_check_runs where executed_at < $1`, past.Add(3*day)).Scan(&n)
	if err != nil || n != 300 {
		t.Errorf("the reader sees %d of 300, %v", n, err)
	}
	reader.Rollback()
	if s := l.roll(past.Add(60 * day)); s != (RollupSummary{RunsExpired: 300}) {
		t.Errorf("afterwards: %+v", s)
	}
	got := map[string]float64{}
	l.metrics(func(name, _, _ string, v float64) { got[name] = v })
	if got["rollup_drops_blocked_total"] != 1 || got["runs_expired_total"] != 300 || got["rollups_total"] != 2 {
		t.Errorf("metrics: %v", got)
	}
}
