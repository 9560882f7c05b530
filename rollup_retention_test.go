// How long each check is kept, and that nothing is counted twice when that changes.

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/sql/record"
	"checkstack/sql/series"
)

func TestRecordOnceTakesRunsOfAnyAgeThatIsKept(t *testing.T) {
	l := newLedger(t)
	now := time.Now()
	for _, d := range []time.Duration{6 * day, 8 * day, 29 * day, 40 * day, 364 * day} {
		l.all = append(l.all, l.random(300, now.Add(-d), 20*time.Hour)...)
	}
	raw := l.all[:300] // the others are older than raw runs are kept
	sent := slices.Concat(l.all, l.all[:100], l.all[700:900])
	l.rand.Shuffle(len(sent), func(i, j int) { sent[i], sent[j] = sent[j], sent[i] })
	future := aRun("shop", 1, "", plugins.Healthy, 5, now.Add(6*time.Minute))
	ancient := aRun("shop", 1, "", plugins.Healthy, 5, now.Add(-365*day-time.Minute))
	broken := aRun("shop", 1, "", plugins.Healthy, 5, now.Add(-20*day))
	broken.Result = []byte("{")
	done := l.recordOnce(append(sent, future, ancient, broken)...)
	if done.Stored != 1500 || done.Known != 300 {
		t.Errorf("%d stored, %d known, want 1500 and 300", done.Stored, done.Known)
	}
	var reasons []string
	for _, r := range done.Refused {
		reasons = append(reasons, r.Reason)
	}
	want := []string{"executedAt: more than 5 minutes in the future", "executedAt: too old, before all that is kept of this check",
		"result: expected a JSON value that can be stored"}
	if !slices.Equal(reasons, want) {
		t.Errorf("refused for %q, want %q", reasons, want)
	}
	l.verify()
	if n := l.count("select count(*) from checkstack.health_check_runs"); n != 300 {
		t.Errorf("%d raw runs, want 300", n)
	}

	// What has a raw row is known also to this; Record refuses the rest, which may be a repeat.
	if got := l.recordOnce(raw...); got.Known != 300 || got.Stored != 0 {
		t.Errorf("again: %+v", got)
	}
	if got := l.record(l.all...); got.Known != 300 || got.Stored != 0 || len(got.Refused) != 1200 {
		t.Errorf("again, without a proof: %d known, %d stored, %d refused", got.Known, got.Stored, len(got.Refused))
	}
	l.verify()

	// The days that are there already are added to by the next roll-up, and by the one after a second batch.
	for range 2 {
		l.roll(now)
		l.verify()
		late := l.random(400, now.Add(-60*day), 25*day)
		if got := l.recordOnce(late...); got.Stored != 400 {
			t.Errorf("more: %+v", got)
		}
		l.all = append(l.all, late...)
		l.verify()
	}
	s := l.roll(now)
	l.verify()
	if n := l.count(`select count(*) from checkstack.health_check_aggregates
		where bucket_size = 'hourly' and bucket_start < $1`, now.Add(-31*day)); n != 0 || s.DailyRowsMerged == 0 {
		t.Errorf("%d hours left that were due; %+v", n, s)
	}
}

func TestOfARunSentTwiceInABatchTheFirstCounts(t *testing.T) {
	l := newLedger(t)
	for _, age := range []time.Duration{time.Hour, 20 * day} { // with a raw row and without
		for range 20 {
			first := aRun("shop", 1, "", plugins.Healthy, 5, time.Now().Add(-age).Truncate(time.Microsecond))
			second := first
			second.Status, second.LatencyMs = plugins.Unhealthy, new(int32(7))
			if got := l.recordOnce(first, second); got.Stored != 1 || got.Known != 1 {
				t.Errorf("%+v", got)
			}
			l.all = append(l.all, first)
		}
	}
	l.verify()
}

func TestABatchOverAYearTakesFewLocks(t *testing.T) {
	l := newLedger(t)
	now := time.Now()
	for d := range 364 {
		l.all = append(l.all, aRun("shop", 1, "", plugins.Healthy, 5, now.Add(-time.Duration(d)*day)))
	}
	tx, err := l.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := l.RecordOnce(t.Context(), tx, l.all); err != nil {
		t.Fatal(err)
	}
	var locks int
	err = tx.QueryRow(`select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()`).Scan(&locks)
	if err != nil || locks != 32 {
		t.Errorf("%d locks, want 32, %v", locks, err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	l.verify()
	for at, want := range map[time.Time]int32{
		time.Unix(0, 0): 0, time.Unix(-1, 0): 31, time.Unix(33*86400-1, 0): 0, time.Unix(33*86400, 0): 1,
	} {
		if got := record.LockKey(at); got != want {
			t.Errorf("key of %v: %d, want %d", at.UTC(), got, want)
		}
	}
}

func TestRetentionsAreSetReadAndPutBack(t *testing.T) {
	l := newLedger(t)
	read := func(system string, check int) plugins.Retention {
		t.Helper()
		r, err := l.Retention(t.Context(), system, aCheck(check))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	one := plugins.Retention{RawDays: 3, HourlyDays: 20, DailyDays: 100}
	other := plugins.Retention{RawDays: 30, HourlyDays: 90, DailyDays: 3650}
	for i, set := range []*plugins.Retention{nil, &one, &one, &other, nil, nil, &one, nil} {
		l.retain("shop", 1, set)
		want := plugins.DefaultRetention()
		if set != nil {
			want = *set
		}
		if got := read("shop", 1); got != want {
			t.Errorf("step %d: %+v, want %+v", i, got, want)
		}
		if got := read("shop", 2); got != plugins.DefaultRetention() {
			t.Errorf("step %d: another check: %+v", i, got)
		}
	}
	tx, err := l.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.SetRetention(t.Context(), tx, "shop", aCheck(1), &other); err != nil {
		t.Fatal(err)
	}
	tx.Rollback()
	if got := read("shop", 1); got != plugins.DefaultRetention() {
		t.Errorf("after a rollback: %+v", got)
	}
	for i, bad := range []struct {
		field, system, check string
		r                    *plugins.Retention
	}{
		{"systemId", "", aCheck(1), &one}, {"systemId", "\x00", aCheck(1), nil}, {"systemId", strings.Repeat("x", 201), aCheck(1), nil},
		{"configurationId", "shop", "x", &one}, {"configurationId", "shop", "", nil},
		{"rawDays", "shop", aCheck(1), &plugins.Retention{RawDays: 0, HourlyDays: 30, DailyDays: 365}},
		{"rawDays", "shop", aCheck(1), &plugins.Retention{RawDays: 31, HourlyDays: 60, DailyDays: 365}},
		{"hourlyDays", "shop", aCheck(1), &plugins.Retention{RawDays: 10, HourlyDays: 10, DailyDays: 365}},
		{"dailyDays", "shop", aCheck(1), &plugins.Retention{RawDays: 7, HourlyDays: 30, DailyDays: 30}},
	} {
		err := l.SetRetention(t.Context(), nil, bad.system, bad.check, bad.r)
		if e, ok := errors.AsType[*plugins.Error](err); !ok || e.Status != 400 || e.Field != bad.field {
			t.Errorf("case %d: %v, want %s to be wrong", i, err, bad.field)
		}
		_, err = l.Retention(t.Context(), bad.system, bad.check)
		if (err != nil) != (bad.field == "systemId" || bad.field == "configurationId") {
			t.Errorf("case %d: read: %v", i, err)
		}
	}
}

// TestAChangeOfRetentionNeverLetsARepeatCountTwice counts runs of every age, changes the raw retention in every way, and sends
// all of them again by Record, which has no proof that they are new, at every step.
func TestAChangeOfRetentionNeverLetsARepeatCountTwice(t *testing.T) {
	l := newLedger(t)
	now := time.Now().Truncate(time.Microsecond)
	var runs []plugins.Run
	for _, system := range []string{"shop", "mail"} {
		for h := range 34 * 24 {
			runs = append(runs, aRun(system, 1, "berlin", plugins.Healthy, int32(h), now.Add(-time.Duration(h)*time.Hour-30*time.Minute)))
		}
	}
	l.all = runs
	if got := l.recordOnce(runs...); got.Stored != len(runs) {
		t.Fatalf("%+v", got)
	}
	keep := func(raw int) *plugins.Retention {
		return &plugins.Retention{RawDays: raw, HourlyDays: 60, DailyDays: 365}
	}
	again := func(step string) {
		t.Helper()
		if got := l.record(runs...); got.Stored != 0 {
			t.Errorf("%s: %d of %d counted again", step, got.Stored, len(runs))
		}
	}
	again("at first")
	for i, set := range []*plugins.Retention{keep(30), keep(2), nil, keep(1), keep(30), nil, keep(3), keep(20), nil, keep(30)} {
		step := fmt.Sprintf("step %d, %+v", i, set)
		l.retain("shop", 1, set)
		again(step)
		if s := l.roll(now); s.Skipped {
			t.Fatal("skipped")
		}
		again(step + ", rolled up")
	}
	l.verify()

	// New runs of the time that is kept longer now are counted once too, with a proof, and as late ones refused without.
	fresh := aRun("shop", 1, "berlin", plugins.Healthy, 5, now.Add(-10*day))
	if got := l.record(fresh); len(got.Refused) != 1 {
		t.Errorf("without a proof: %+v", got)
	}
	if got := l.recordOnce(fresh); got.Stored != 1 {
		t.Errorf("with a proof: %+v", got)
	}
	l.all = append(l.all, fresh)
	if got := l.record(fresh); got.Stored != 0 {
		t.Errorf("again: %+v", got)
	}
	l.verify()
}

// TestARecorderThatBeganBeforeARetentionWasMadeLonger counts a run without a raw row while the longer retention is not yet
// committed; sent again afterwards, it is not counted.
func TestARecorderThatBeganBeforeARetentionWasMadeLonger(t *testing.T) {
	l := newLedger(t)
	setter, err := l.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer setter.Rollback()
	longer := plugins.Retention{RawDays: 30, HourlyDays: 60, DailyDays: 365}
	if err := l.SetRetention(t.Context(), setter, "shop", aCheck(1), &longer); err != nil {
		t.Fatal(err)
	}
	// As old as the raw retention that still holds, at this moment, and younger than it was when the longer one was set.
	var at time.Time
	if err := l.db.QueryRow(`select clock_timestamp() - interval '168 hours'`).Scan(&at); err != nil {
		t.Fatal(err)
	}
	r := aRun("shop", 1, "berlin", plugins.Healthy, 5, at)
	if got := l.recordOnce(r); got.Stored != 1 {
		t.Fatalf("%+v", got)
	}
	if n := l.count(`select count(*) from checkstack.health_check_runs`); n != 0 {
		t.Fatal("it has a raw row")
	}
	if err := setter.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := l.record(r); got.Stored != 0 {
		t.Errorf("again: %+v", got)
	}
	l.all = []plugins.Run{r}
	l.verify()
}

func TestRetentionsThatWerePutBackAreForgottenWhenTheyMakeNoDifference(t *testing.T) {
	l := newLedger(t)
	rows := func() int64 { return l.count(`select count(*) from checkstack.health_check_retention`) }
	l.retain("shop", 1, &plugins.Retention{RawDays: 2, HourlyDays: 30, DailyDays: 365})
	l.retain("shop", 1, nil)
	l.retain("mail", 1, &plugins.Retention{RawDays: 20, HourlyDays: 30, DailyDays: 365})
	l.retain("bank", 1, nil) // never had one
	if n := rows(); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
	l.roll(time.Now())
	if n := rows(); n != 2 {
		t.Errorf("%d rows after a roll-up, want 2", n)
	}
	for _, step := range []struct {
		age  time.Duration // of raw_since
		rows int64
	}{{7*day + 59*time.Minute, 2}, {7*day + 61*time.Minute, 1}} {
		l.exec(`update checkstack.health_check_retention set raw_since = $1`, series.Timestamp(time.Now().Add(-step.age)))
		l.roll(time.Now().Add(100 * day)) // which has no say in it
		if n := rows(); n != step.rows {
			t.Errorf("complete for %v: %d rows, want %d", step.age, n, step.rows)
		}
	}
}

func TestManyChecksWithARetentionOfTheirOwnExpire(t *testing.T) {
	l := newLedger(t)
	const checks, runs = 35, 1300 // so that it takes several batches of checks, and several of each check
	now := time.Now().UTC()
	l.batch = 1000
	l.exec(`select checkstack.make_run_partitions($1, $2)`, series.Timestamp(now.Add(-20*day)), series.Timestamp(now))
	l.exec(`insert into checkstack.health_check_retention (system_id, configuration_id, raw_days, hourly_days, daily_days)
		select 's' || c, $1::uuid, 3, 10, 40 from generate_series(1, $2) c union all select 'long', $1, 30, 60, 100`, aCheck(1), checks)
	l.exec(`insert into checkstack.health_check_runs (system_id, run_id, executed_at, configuration_id, status, received_at)
		select s, gen_random_uuid(), $1::timestamptz - n * interval '10 minutes', $2::uuid, 'healthy', now()
		from generate_series(0, $3 - 1) n, (select 's' || c from generate_series(1, $4) c union all select 'long') u(s)`,
		series.Timestamp(now), aCheck(1), runs, checks)
	l.exec(`insert into checkstack.health_check_aggregates (system_id, configuration_id, bucket_size, bucket_start,
			run_count, healthy_count, degraded_count, unhealthy_count, latency_count, latency_sum_ms)
		select s, $1::uuid, 'daily', $2::timestamptz - d * interval '24 hours', 1, 1, 0, 0, 0, 0
		from generate_series(0, 90) d, (select 's' || c from generate_series(1, $3) c union all select 'long') u(s)`, aCheck(1),
		series.Timestamp(now.Truncate(day)), checks)
	kept := int64(3*24*6 + 7) // to the hour and ten minutes, with now itself
	want := RollupSummary{RunsExpired: checks * (runs - kept), DailyRowsExpired: checks * 50}
	if got := l.roll(now); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if n := l.count(`select count(*) from checkstack.health_check_runs where system_id = 'long'`); n != runs {
		t.Errorf("%d runs of the check that is kept longer, want %d", n, runs)
	}
}

// TestACheckThatWasDeletedAgesOut: nobody says any more how long it is kept, so the defaults hold, and then nothing is left.
func TestACheckThatWasDeletedAgesOut(t *testing.T) {
	l := newLedger(t)
	now := time.Now().UTC()
	l.retain("gone", 1, &plugins.Retention{RawDays: 30, HourlyDays: 90, DailyDays: 3650})
	l.all = l.random(200, now.Add(-5*day), 4*day)
	for i := range l.all {
		l.all[i].SystemID, l.all[i].ConfigurationID = "gone", aCheck(1)
	}
	l.record(l.all...)
	l.retain("gone", 1, nil)
	for _, age := range []time.Duration{0, 8, 40, 366} {
		l.roll(now.Add(age * day))
		if age < 366 {
			l.verify()
		}
	}
	n := l.count(`select (select count(*) from checkstack.health_check_runs)
		+ (select count(*) from checkstack.health_check_aggregates)`)
	if n != 0 {
		t.Errorf("%d rows left", n)
	}
	// Dropped ahead of their time, and made again.
	if got := l.partitioned(); !slices.Equal(got, daily(now.Add(-7*day-time.Hour), now.Add(7*day))) {
		t.Errorf("partitions:\n%s", strings.Join(got, "\n"))
	}
}
