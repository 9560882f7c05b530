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

// BenchmarkRead reads the history of 500 systems with a check each that runs every minute: first a year that is kept as
// days, then one of which the last 30 days are kept as hours. The benchmarks of Series read one check, those of
// Availability all systems, or 20 of them.
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
		b.Run(name, func(b *testing.B) { median(b, f, want) })
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

// BenchmarkRuns lists the newest 100 runs, and counts the runs, of a system of 100 checks with 30 days of runs in 39
// partitions, and of one of its checks.
func BenchmarkRuns(b *testing.B) {
	const checks, each = 100, 30 * 48
	h := newBook(b)
	h.recorder.RawDays = 30
	if err := h.recorder.Prepare(b.Context()); err != nil {
		b.Fatal(err)
	}
	h.exec(`insert into checkstack.health_check_runs (system_id, run_id, executed_at, configuration_id, status, received_at)
		select 'shop', gen_random_uuid(), now() - n * interval '30 minutes', md5('check ' || c)::uuid, 'healthy', now()
		from generate_series(0, $1::integer - 1) n, generate_series(1, $2::integer) c`, each, checks)
	h.exec(`insert into checkstack.health_check_aggregates (system_id, configuration_id, bucket_size, bucket_start,
			run_count, healthy_count, degraded_count, unhealthy_count, latency_count, latency_sum_ms)
		select system_id, configuration_id, 'hourly', date_trunc('hour', executed_at, 'UTC'), count(*), count(*), 0, 0, 0, 0
		from checkstack.health_check_runs group by 1, 2, 4`)
	h.exec(`vacuum (analyze, freeze) checkstack.health_check_runs, checkstack.health_check_aggregates`)
	var check string
	if err := h.DB.QueryRow(`select md5('check 7')::uuid`).Scan(&check); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name, configuration string
		runs                int
	}{{"system", "", checks * each}, {"check", check, each}} {
		b.Run(c.name+"/list", func(b *testing.B) {
			median(b, func() (int, error) {
				runs, err := h.Runs(b.Context(), plugins.RunsQuery{SystemID: "shop", ConfigurationID: c.configuration, Limit: 100})
				return len(runs), err
			}, 100)
		})
		b.Run(c.name+"/count", func(b *testing.B) {
			median(b, func() (int, error) {
				return h.CountRuns(b.Context(), plugins.RunsQuery{SystemID: "shop", ConfigurationID: c.configuration})
			}, min(c.runs, 100_000))
		})
	}
}

// median reports the median time of f, which another program on the machine disturbs least, and checks what f returns.
func median(b *testing.B, f func() (int, error), want int) {
	var times []time.Duration
	for b.Loop() {
		begun := time.Now()
		if n, err := f(); n != want || err != nil {
			b.Fatalf("%d, want %d, %v", n, want, err)
		}
		times = append(times, time.Since(begun))
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds())/1000, "ms/op")
	b.ReportMetric(0, "ns/op")
}
