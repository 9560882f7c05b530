// The roll-up of a day in parts, each a transaction.

package main

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"checkstack/plugins"
)

// TestADayIsMovedInPartsAndReadsRightAtEveryMoment ends the roll-up after each part of it in turn.
func TestADayIsMovedInPartsAndReadsRightAtEveryMoment(t *testing.T) {
	l := newLedger(t)
	const systems = 10
	for _, d := range []time.Duration{0, day} {
		for h := range 24 {
			for s := range systems { // 48 rows of each system and day
				l.all = append(l.all, aRun(fmt.Sprint("s", s), 1, "", plugins.Healthy, int32(100*s+h), past.Add(d+time.Duration(h)*time.Hour)),
					aRun(fmt.Sprint("s", s), 2, "", plugins.Degraded, -1, past.Add(d+time.Duration(h)*time.Hour)))
			}
		}
	}
	all := l.all
	l.all = nil
	l.backdate(all...)
	l.part = 100 // two systems
	series := func() (runs int64) {
		t.Helper()
		for s := range systems {
			b, err := l.Series(t.Context(), plugins.SeriesQuery{
				ConfigurationID: aCheck(1), SystemID: fmt.Sprint("s", s), From: past, To: past.Add(2 * day)})
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range b {
				runs += b.Runs
			}
		}
		return runs
	}
	const perDay = 5 // parts
	for cut := 1; cut <= 2*perDay; cut++ {
		ctx, cancel := context.WithCancel(t.Context())
		told := 0
		l.progress = func(s RollupSummary, daysLeft int64) {
			told++
			l.verify()
			if got := series(); got != 2*24*systems {
				t.Errorf("after part %d: %d runs in the series, want %d", cut, got, 2*24*systems)
			}
			if s.HourlyRowsMoved != 96 || told != 1 || s.DailyRowsMerged != 0 || s.DailyRowsInserted != 4 ||
				daysLeft != int64(2-(cut-1)/perDay) {
				t.Errorf("part %d: %+v, %d days left", cut, s, daysLeft)
			}
			if want := int64(480 - 96*((cut-1)%perDay+1)); l.hoursLeft.Load() != want {
				t.Errorf("part %d: %d hours left of the day, want %d", cut, l.hoursLeft.Load(), want)
			}
			cancel()
		}
		_, err := l.Rollup(ctx, past.Add(60*day))
		if !errors.Is(err, context.Canceled) && cut%perDay != 0 && plugins.SQLState(err) != "57014" {
			t.Errorf("part %d: %v", cut, err)
		}
		l.verify()
		if n := l.count(`select count(*) from checkstack.health_check_aggregates where bucket_size = 'hourly'`); n != int64(960-96*cut) {
			t.Errorf("after part %d: %d hours, want %d", cut, n, 960-96*cut)
		}
	}
	l.progress = nil
	if s := l.roll(past.Add(60 * day)); s != (RollupSummary{RunsExpired: 960}) {
		t.Errorf("the rest: %+v", s)
	}
	if l.daysLeft.Load() != 0 || l.hoursLeft.Load() != 0 || l.running.Load() != 0 {
		t.Errorf("left: %d days, %d hours, %d running", l.daysLeft.Load(), l.hoursLeft.Load(), l.running.Load())
	}
}

func TestPartsAreWholeSystemsOfAboutTheSizeGiven(t *testing.T) {
	l := newLedger(t)
	insert := `insert into checkstack.health_check_aggregates (system_id, configuration_id, bucket_size, bucket_start, source_id,
			run_count, healthy_count, degraded_count, unhealthy_count, latency_count, latency_sum_ms)
		select $1, gen_random_uuid(), 'hourly', $2::timestamptz + h % 24 * interval '1 hour', '', 1, 1, 0, 0, 0, 0
		from generate_series(1, $3) h`
	systems := map[string]int64{}
	for range 60 {
		system, n := plugins.NewID()[:6], 1+l.rand.Int64N(40)
		if _, ok := systems[system]; !ok {
			systems[system] = n
			l.exec(insert, system, past, n)
			l.exec(insert, system, past.Add(day), 1) // of the next day
		}
	}
	systems["große"] = 500
	l.exec(insert, "große", past, 500)
	for _, size := range []int64{1, 30, 100, 100_000} {
		rows, err := plugins.Rows(t.Context(), l.db, func(row plugins.Row) (p part, err error) {
			err = row.Scan(&p.last, &p.hours)
			return p, err
		}, rollupPartsSQL, past, size)
		if err != nil {
			t.Fatal(err)
		}
		after := ""
		for _, p := range rows {
			var hours, most int64
			for system, n := range systems {
				if system > after && system <= p.last {
					hours, most = hours+n, max(most, n)
				}
			}
			if hours != p.hours || hours > size+most || systems[p.last] == 0 {
				t.Errorf("size %d: after %q up to %q: %d hours, %d are there, %d of one system", size, after, p.last, p.hours, hours, most)
			}
			after = p.last
		}
		for system := range systems {
			if system > after {
				t.Errorf("size %d: %q is in no part", size, system)
			}
		}
	}
}
