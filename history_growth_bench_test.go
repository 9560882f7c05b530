package main

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"checkstack/plugins"
)

var long = flag.Bool("long", false, "also run and measure what takes minutes")

// BenchmarkGrowth measures what the history costs when it has a year of 1 and of 10 million runs, and with -long of 100
// million: checks that run every 5 minutes, of which the last 30 days are kept as hours. A roll-up moves the one day
// that is due, as it does once a day, and another one finds nothing to do, as it does in the other hours of it. A
// series is the year of one check in 200 points; availability is that of 10 systems.
func BenchmarkGrowth(b *testing.B) {
	const perHour = 12
	text, err := os.ReadFile("sql/series/testdata/fill.sql")
	if err != nil {
		b.Fatal(err)
	}
	millions := []int{1, 10}
	if *long {
		millions = append(millions, 100)
	}
	for _, million := range millions {
		b.Run(fmt.Sprint(million, "Mruns"), func(b *testing.B) {
			l := newLedger(b)
			checks := (million*1_000_000 + perHour*24*365 - 1) / (perHour * 24 * 365)
			now := time.Now().UTC()
			today := now.Truncate(day)
			due := today.Add(-31 * day)
			fill := func(size string, from, to time.Time) {
				for ; from.Before(to); from = from.Add(5 * day) { // in statements of some seconds
					next := from.Add(5 * day)
					if next.After(to) {
						next = to
					}
					l.exec(string(text), checks, size, from, next, perHour)
				}
			}
			fill("daily", today.Add(-365*day), due)
			fill("hourly", due.Add(day), now)
			l.exec(`vacuum (analyze, freeze) checkstack.health_check_aggregates`)
			var systems []string
			var check string
			for n := range 10 {
				var id string
				if err := l.db.QueryRow(`select md5('system ' || $1::integer)::uuid, md5('check ' || $1::integer)::uuid`, checks-n%checks).
					Scan(&id, &check); err != nil {
					b.Fatal(err)
				}
				systems = append(systems, id)
			}
			timed := func(times *[]time.Duration, f func()) {
				begun := time.Now()
				f()
				*times = append(*times, time.Since(begun))
			}
			var roll, idle, series, availability []time.Duration
			for b.Loop() {
				l.exec(`delete from checkstack.health_check_aggregates where bucket_start = $1`, due)
				fill("hourly", due, due.Add(day))
				timed(&roll, func() {
					if s := l.roll(now); s.HourlyRowsMoved != int64(24*checks) || s.DailyRowsInserted != int64(checks) {
						b.Fatalf("%+v", s)
					}
				})
				for range 5 {
					timed(&idle, func() { l.roll(now) })
					timed(&series, func() {
						buckets, err := l.Series(b.Context(), plugins.SeriesQuery{
							ConfigurationID: check, SystemID: systems[9], From: now.Add(-365 * day), To: now})
						if err != nil || len(buckets) != 183 {
							b.Fatalf("%d buckets, %v", len(buckets), err)
						}
					})
					timed(&availability, func() {
						if _, err := l.Availability(b.Context(), systems); err != nil {
							b.Fatal(err)
						}
					})
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(l.count(`select count(*) from checkstack.health_check_aggregates`)), "rows")
			b.ReportMetric(float64(l.count(`select pg_total_relation_size('checkstack.health_check_aggregates')`))/(1<<20), "MiB")
			b.ReportMetric(1000*median(roll), "roll-up-ms")
			b.ReportMetric(float64(24*checks)/median(roll), "rows/s")
			b.ReportMetric(1000*median(idle), "idle-ms")
			b.ReportMetric(1000*median(series), "series-ms")
			b.ReportMetric(1000*median(availability), "availability-ms")
		})
	}
}
