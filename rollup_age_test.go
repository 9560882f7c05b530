// The roll-up of hours into days, and what is deleted when.

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"testing"
	"time"

	"checkstack/plugins"

	"github.com/lib/pq"
)

func TestRollupKeepsEverySum(t *testing.T) {
	l := newLedger(t)
	for hour := range 48 { // an hour without any latency, an hour with one source only, and runs on both sides of midnight
		l.backdate(aRun("shop", 1, "", plugins.Healthy, int32(hour*10-10), past.Add(time.Duration(hour)*time.Hour)))
		if hour%5 == 0 {
			l.backdate(aRun("shop", 1, "berlin", plugins.Unhealthy, int32(hour), past.Add(time.Duration(hour)*time.Hour)))
		}
	}
	l.backdate(aRun("mail", 1, "", plugins.Degraded, -1, past.Add(5*time.Hour)),
		aRun("mail", 1, "", plugins.Degraded, -1, past.Add(7*time.Hour)),
		aRun("mail", 2, "", plugins.Healthy, 7, past.Add(day-time.Microsecond)), aRun("mail", 2, "", plugins.Healthy, 9, past.Add(day)))
	l.exec(`insert into checkstack.health_check_retention values ('other', $1, 1, 7, 30)`, aCheck(1))
	l.verify()

	away := l.elsewhere("America/St_Johns") // where days begin at other times
	home := l.db
	l.db = away
	defer func() { l.db = home }()

	if got := l.roll(past.Add(31*day - time.Microsecond)); got != (RollupSummary{RunsExpired: 62}) {
		t.Errorf("before the day is due: %+v", got)
	}
	if got, want := l.roll(past.Add(31*day)), (RollupSummary{Days: 1, HourlyRowsMoved: 24 + 5 + 2 + 1, DailyRowsInserted: 4}); got != want {
		t.Errorf("first day:\n got %+v\nwant %+v", got, want)
	}
	l.verify()
	if got, want := l.roll(past.Add(32*day)), (RollupSummary{Days: 1, HourlyRowsMoved: 24 + 5 + 1, DailyRowsInserted: 3}); got != want {
		t.Errorf("second day:\n got %+v\nwant %+v", got, want)
	}
	if got := l.roll(past.Add(32 * day)); got != (RollupSummary{}) {
		t.Errorf("again: %+v", got)
	}
	l.verify()

	// Late runs go into hours that are there no more, and from there into the days that are: of a check with a latency
	// and of one without any so far, and of one that had no day yet.
	l.backdate(aRun("shop", 1, "", plugins.Healthy, 77_777, past.Add(3*time.Hour)),
		aRun("mail", 1, "", plugins.Healthy, 5, past.Add(4*time.Hour)),
		aRun("mail", 1, "", plugins.Healthy, -1, past.Add(6*time.Hour)), aRun("shop", 1, "oslo", plugins.Healthy, 5, past.Add(4*time.Hour)),
		aRun("shop", 1, "berlin", plugins.Healthy, -1, past.Add(30*time.Hour)))
	l.verify()
	got := l.roll(past.Add(32 * day))
	if want := (RollupSummary{Days: 2, HourlyRowsMoved: 5, DailyRowsInserted: 1, DailyRowsMerged: 3, RunsExpired: 5}); got != want {
		t.Errorf("late:\n got %+v\nwant %+v", got, want)
	}
	l.verify()
	text, err := json.Marshal(got)
	want := `{"days":2,"hourlyRowsMoved":5,"dailyRowsInserted":1,"dailyRowsMerged":3,"dailyRowsExpired":0,"runsExpired":5,"durationMs":0}`
	if string(text) != want || err != nil {
		t.Errorf("as JSON: %s, %v", text, err)
	}
	if _, err := l.Rollup(t.Context(), time.Time{}.AddDate(-3, 0, 0)); err == nil {
		t.Error("a time before the year 1 was taken")
	}
}

// TestDaysAreUTCDaysWhereClocksChange rolls up in sessions of places where the day is 23 or 25 hours long.
func TestDaysAreUTCDaysWhereClocksChange(t *testing.T) {
	l := newLedger(t)
	home := l.db
	for zone, changes := range map[string]time.Time{
		"America/New_York":    time.Date(2026, 3, 8, 0, 0, 0, 0, time.UTC),
		"Europe/Berlin":       time.Date(2025, 10, 26, 0, 0, 0, 0, time.UTC),
		"Australia/Lord_Howe": time.Date(2026, 4, 4, 0, 0, 0, 0, time.UTC), // by half an hour
	} {
		runs := l.random(1200, changes.Add(-day), 3*day)
		for h := range 72 { // every hour has one
			runs = append(runs, aRun("shop", 0, "", plugins.Healthy, 5, changes.Add(time.Duration(h-24)*time.Hour)))
		}
		l.partitions(runs...)
		l.db = l.elsewhere(zone)
		l.ever.DB, l.Recorder.DB = l.db, l.db
		l.backdate(runs...)
		l.verify()
		for d := range 3 {
			end := changes.Add(time.Duration(d)*day + 30*day)
			if s := l.roll(end.Add(-time.Microsecond)); s.Days != 0 {
				t.Errorf("%s: day %d, too early: %+v", zone, d, s)
			}
			if s := l.roll(end); s.Days != 1 {
				t.Errorf("%s: day %d: %+v", zone, d, s)
			}
			l.verify()
		}
		l.db = home
		l.ever.DB, l.Recorder.DB = home, home
	}
}

// TestAYearOfSlowChecksAddsUp rolls up a year at once in which a check took 30 s, and ran each second: more milliseconds a day
// than 32 bits hold.
func TestAYearOfSlowChecksAddsUp(t *testing.T) {
	l := newLedger(t)
	l.retain("shop", 1, &plugins.Retention{RawDays: 7, HourlyDays: 30, DailyDays: 3650})
	idx, cnt := bucketOf(30_000), 3600
	l.exec(`insert into checkstack.health_check_aggregates (system_id, configuration_id, bucket_size, bucket_start, source_id,
			run_count, healthy_count, degraded_count, unhealthy_count, latency_count, latency_sum_ms, min_latency_ms, max_latency_ms,
			p95_latency_ms, latency_hist_idx, latency_hist_cnt, latency_hist_v)
		select 'shop', $1::uuid, 'hourly', $2::timestamptz + h * interval '1 hour', 'source ' || s,
			$3::bigint, 0, 0, $3, $3, 30000 * $3, 30000, 30000, 30000, array[$4::smallint], array[$3], 1
		from generate_series(0, 365 * 24 - 1) h, generate_series(1, 2) s`, aCheck(1), past.AddDate(-1, 0, 0), cnt, idx)
	const days, sources = 365, 2
	want := RollupSummary{Days: days, HourlyRowsMoved: days * 24 * sources, DailyRowsInserted: days * sources}
	if s := l.roll(past.Add(30 * day)); s != want {
		t.Errorf("got %+v, want %+v", s, want)
	}
	b, err := l.Series(t.Context(), plugins.SeriesQuery{
		ConfigurationID: aCheck(1), SystemID: "shop", From: past.AddDate(-1, 0, 0), To: past, Points: 1})
	if err != nil || len(b) != 1 {
		t.Fatal(b, err)
	}
	if got := b[0]; got.Runs != int64(days*24*sources*cnt) || got.Unhealthy != got.Runs ||
		*got.AverageMs != 30_000 || *got.P95Ms != 30_000 || *got.MaxMs != 30_000 {
		t.Errorf("%+v", got)
	}
	sum := l.count(`select sum(latency_sum_ms)::bigint from checkstack.health_check_aggregates`)
	if sum != int64(days*24*sources*cnt)*30_000 {
		t.Errorf("%d ms in all", sum)
	}
}

func TestRollupOfRandomDataKeepsEverySumAndItsPercentile(t *testing.T) {
	l := newLedger(t)
	for round := range 4 {
		l.backdate(l.random(4000, past, 5*day)...)
		l.verify()
		l.roll(past.Add(time.Duration(31+2*round) * day)) // ever more days, and late hours of those before
		l.verify()
	}
	exact := map[string]*sum{}
	for i := range l.all {
		r := &l.all[i]
		name := r.SystemID + " " + r.ConfigurationID + " " + r.SourceID + " " + r.ExecutedAt.Format(time.DateOnly)
		if exact[name] == nil {
			exact[name] = &sum{}
		}
		exact[name].add(r)
	}
	rows, err := l.db.Query(`
		select system_id || ' ' || configuration_id || ' ' || source_id || ' ' || to_char(bucket_start, 'YYYY-MM-DD'), p95_latency_ms
		from checkstack.health_check_aggregates where bucket_size = 'daily' and p95_latency_ms is not null`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		var name string
		var got int32
		if err := rows.Scan(&name, &got); err != nil {
			t.Fatal(err)
		}
		n++
		if want := exact[name].p95(); math.Abs(float64(got-want)) > 0.02*float64(want) {
			t.Errorf("%s: p95 = %d, exactly %d", name, got, want)
		}
	}
	if n < 40 {
		t.Errorf("%d days compared", n)
	}
}

func TestEachCheckIsKeptAsLongAsItsRetentionSays(t *testing.T) {
	l := newLedger(t)
	now := time.Now().UTC().Truncate(day).Add(-12 * time.Hour)
	ages := []int{0, 2, 6, 7, 8, 9, 29, 30, 31, 32, 89, 90, 91, 92, 364, 365, 366, 367, 3649, 3650, 3651, 3652}
	systems := []string{"short", "default", "long"}
	for _, system := range systems {
		for _, age := range ages {
			l.backdate(aRun(system, 1, "", plugins.Healthy, 5, now.Add(-time.Duration(age)*day)))
		}
	}
	l.exec(`insert into checkstack.health_check_retention values ('short', $1, 1, 7, 30), ('long', $1, 30, 90, 3650)`, aCheck(1))
	l.roll(now)
	want := map[string][3]int{"short": {1, 7, 30}, "default": {7, 30, 365}, "long": {30, 90, 3650}}
	got, expect := map[string]bool{}, map[string]bool{}
	for _, system := range systems {
		for _, age := range ages {
			keep := want[system]
			if age <= keep[0] { // its age to the hour is that of the retention: the extra hour keeps it
				expect[fmt.Sprint(system, " raw ", age)] = true
			}
			if age <= keep[1] {
				expect[fmt.Sprint(system, " hourly ", age)] = true
			} else if age <= keep[2] {
				expect[fmt.Sprint(system, " daily ", age)] = true
			}
		}
	}
	rows, err := l.db.Query(`
		select system_id || ' ' || bucket_size || ' ' || ($1::date - bucket_start::date) from checkstack.health_check_aggregates
		union all
		select system_id || ' raw ' || ($1::date - executed_at::date) from checkstack.health_check_runs`, now.Format(time.DateOnly))
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		got[s] = true
	}
	if !maps.Equal(got, expect) {
		for s := range got {
			if !expect[s] {
				t.Errorf("kept: %s", s)
			}
		}
		for s := range expect {
			if !got[s] {
				t.Errorf("gone: %s", s)
			}
		}
	}

	for system, stored := range map[string]int{"short": 0, "default": 1, "long": 2} {
		runs := []plugins.Run{aRun(system, 1, "", plugins.Healthy, 1, time.Now().Add(-3*day)),
			aRun(system, 1, "", plugins.Healthy, 1, time.Now().Add(-20*day))}
		if got := l.record(runs...); got.Stored != stored || len(got.Refused) != 2-stored {
			t.Errorf("runs of 3 and 20 days ago for %s: %+v", system, got)
		}
	}
	for _, bad := range []string{"0, 30, 365", "31, 60, 365", "7, 6, 365", "7, 91, 365",
		"7, 30, 29", "7, 30, 3651", "7, 7, 365", "20, 20, 30", "7, 30, 30"} {
		_, err := l.db.Exec(`insert into checkstack.health_check_retention values ('x', '` + aCheck(9) + `', ` + bad + `)`)
		if plugins.SQLState(err) != "23514" {
			t.Errorf("retention of %s days: %v", bad, err)
		}
	}
}

func TestManyRowsExpireInBoundedBatches(t *testing.T) {
	l := newLedger(t)
	l.exec(`insert into checkstack.health_check_retention values ('long', $1, 30, 90, 3650), ('short', $1, 1, 7, 30)`, aCheck(1))
	l.exec(`insert into checkstack.health_check_runs (system_id, run_id, executed_at, configuration_id, status, received_at)
		select case when n % 25 < 12 then 'shop' when n % 25 < 24 then 'short' else 'long' end, gen_random_uuid(),
			now() - interval '8 days', $1, 'healthy', now()
		from generate_series(1, 50000) n`, aCheck(1))
	l.exec(`insert into checkstack.health_check_aggregates (system_id, configuration_id, bucket_size, bucket_start, source_id,
			run_count, healthy_count, degraded_count, unhealthy_count, latency_count, latency_sum_ms)
		select case when n % 25 < 24 then 'shop' else 'long' end, $1, 'daily',
			'2020-01-01 00:00Z'::timestamptz + n % 100 * interval '24 hours', n::text, 1, 1, 0, 0, 0, 0
		from generate_series(1, 25000) n`, aCheck(1))
	if got, want := l.roll(time.Now()), (RollupSummary{DailyRowsExpired: 24_000, RunsExpired: 48_000}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	runs := l.count(`select count(*) from checkstack.health_check_runs where system_id = 'long'`)
	days := l.count(`select count(*) from checkstack.health_check_aggregates where system_id = 'long'`)
	if runs != 2000 || days != 1000 {
		t.Errorf("%d runs and %d days left, want 2000 and 1000", runs, days)
	}
}

func TestGreatNumbersDoNotOverflow(t *testing.T) {
	l := newLedger(t)
	for h := range 24 {
		for range 20 {
			l.backdate(aRun("shop", 1, "", plugins.Unhealthy, math.MaxInt32, past.Add(time.Duration(h)*time.Hour)))
		}
	}
	l.roll(past.Add(60 * day))
	l.verify()
	l.exec(`update checkstack.health_check_aggregates set run_count = 1::bigint << 50,
		unhealthy_count = 1::bigint << 50, latency_count = 1::bigint << 50,
		latency_sum_ms = 1::bigint << 60, latency_hist_cnt = array[1::bigint << 50]`)
	l.backdate(aRun("shop", 1, "", plugins.Unhealthy, 0, past))
	l.roll(past.Add(60 * day))
	b, err := l.Series(t.Context(), plugins.SeriesQuery{ConfigurationID: aCheck(1), SystemID: "shop", From: past, To: past.Add(day)})
	if err != nil || len(b) != 1 || b[0].Runs != 1<<50+1 || *b[0].P95Ms != math.MaxInt32 || *b[0].MinMs != 0 {
		t.Errorf("%+v, %v", b, err)
	}
}

func TestWithoutAHistogramThePercentileIsTheGreatest(t *testing.T) {
	l := newLedger(t)
	insert := `insert into checkstack.health_check_aggregates (system_id, configuration_id, bucket_size, bucket_start,
			run_count, healthy_count, degraded_count, unhealthy_count, latency_count, latency_sum_ms, min_latency_ms, max_latency_ms,
			p95_latency_ms, latency_hist_idx, latency_hist_cnt, latency_hist_v)
		values ('shop', $1, $2, $3, 2, 2, 0, 0, 2, 1000, 400, 600, 590, $4, $5, $6)`
	l.exec(insert, aCheck(1), "hourly", past, pq.Int32Array{}, pq.Int64Array{}, nil) // none, in a day with others
	l.exec(insert, aCheck(2), "hourly", past, pq.Int32Array{7}, pq.Int64Array{2}, 2) // of a scheme that is not known
	l.exec(insert, aCheck(3), "daily", past, pq.Int32Array{}, pq.Int64Array{}, nil)  // none, in the day that is there
	for check := range 4 {
		l.backdate(aRun("shop", check, "", plugins.Healthy, 100, past.Add(time.Hour)))
	}
	l.backdate(aRun("shop", 1, "", plugins.Healthy, 100, past)) // into the very hour
	read := func(check int) plugins.Bucket {
		t.Helper()
		b, err := l.Series(t.Context(), plugins.SeriesQuery{
			ConfigurationID: aCheck(check), SystemID: "shop", From: past, To: past.Add(day), Points: 1})
		if err != nil || len(b) != 1 {
			t.Fatal(b, err)
		}
		return b[0]
	}
	for range 2 { // before the roll-up and after it
		for check, want := range []int32{100, 590, 590, 590} {
			if b := read(check); *b.P95Ms != want {
				t.Errorf("check %d: p95 %d, want %d", check, *b.P95Ms, want)
			}
		}
		l.roll(past.Add(60 * day))
	}
	if n := l.count(`select count(*) from checkstack.health_check_aggregates
		where bucket_size = 'daily' and latency_hist_v is null and latency_hist_idx = '{}'`); n != 3 {
		t.Errorf("%d days without a histogram, want 3", n)
	}
}
