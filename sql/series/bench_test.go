package series_test

import (
	"io"
	"os"
	"slices"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/sql/series"
)

// BenchmarkRead reads the history of 500 systems with a check each that runs every minute: first a year that is kept as days,
// then one of which the last 30 days are kept as hours. The benchmarks of Series read one check, those of Availability all
// systems, or 20 of them.
func BenchmarkRead(b *testing.B) {
	const systems = 500
	h := newBook(b)
	text, err := os.ReadFile("testdata/fill.sql")
	if err != nil {
		b.Fatal(err)
	}
	fill := func(size string, from, to time.Time) {
		for ; from.Before(to); from = from.Add(5 * day) { // in statements of some seconds
			next := from.Add(5 * day)
			if next.After(to) {
				next = to
			}
			h.exec(string(text), systems, size, from, next, 60)
		}
	}
	today := time.Now().UTC().Truncate(day)
	now := today.Add(12 * time.Hour) // whenever it is measured, there is as much to read
	var all []string
	var check string
	for n := range systems {
		var id string
		err := h.DB.QueryRow(`select md5('system ' || $1::integer)::uuid, md5('check ' || $1::integer)::uuid`, systems-n).Scan(&id, &check)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, id)
	}
	measure := func(name string, f func() (int, error), want int) {
		b.Run(name, func(b *testing.B) {
			var times []time.Duration
			for b.Loop() {
				begun := time.Now()
				if n, err := f(); n != want || err != nil {
					b.Fatalf("%d, want %d, %v", n, want, err)
				}
				times = append(times, time.Since(begun))
			}
			slices.Sort(times) // another program on the machine disturbs the median least
			b.ReportMetric(float64(times[len(times)/2].Microseconds())/1000, "ms/op")
			b.ReportMetric(0, "ns/op")
		})
	}
	year := func(points int) func() (int, error) {
		return func() (int, error) {
			buckets, err := h.Series(b.Context(), plugins.SeriesQuery{
				ConfigurationID: check, SystemID: all[systems-1], From: now.Add(-365 * day), To: now, Points: points})
			return len(buckets), err
		}
	}
	availability := func(systems []string) func() (int, error) {
		return func() (int, error) {
			found, err := h.Availability(b.Context(), systems)
			return len(found), err
		}
	}

	fill("daily", today.Add(-365*day), today.Add(day))
	h.exec(`vacuum (analyze, freeze) checkstack.health_check_aggregates`)
	measure("Series/days", year(2000), 366)
	measure("Availability/days", availability(all), systems)

	h.exec(`delete from checkstack.health_check_aggregates where bucket_start >= $1`, today.Add(-30*day))
	h.exec(`vacuum checkstack.health_check_aggregates`)
	fill("hourly", today.Add(-30*day), now)
	h.exec(`vacuum (analyze, freeze) checkstack.health_check_aggregates`)
	measure("Series/200points", year(200), 183)
	measure("Series/2000points", year(2000), 335+int(now.Sub(today.Add(-30*day))/time.Hour))
	measure("Availability/hours", availability(all), systems)
	measure("Availability/20systems", availability(all[:20]), 20)
	measure("Export", func() (int, error) {
		n, err := series.Export(b.Context(), h.DB, io.Discard, today.Add(-10*day), today, series.JSON)
		return int(n), err
	}, 240*systems)
}
