package main

import (
	"database/sql"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"checkstack/plugins"
	"checkstack/sql/series"

	"github.com/lib/pq"
)

// bareMove is what a roll-up costs at the least: the same rows deleted and added up, without histograms or regard to
// days that are there.
const bareMove = `with moved as (
	delete from checkstack.health_check_aggregates
	where bucket_size = 'hourly' and bucket_start >= $1 and bucket_start < $1::timestamptz + interval '24 hours' returning *)
insert into checkstack.health_check_aggregates (system_id, configuration_id, source_id, bucket_start, bucket_size,
	run_count, healthy_count, degraded_count, unhealthy_count, latency_count, latency_sum_ms, min_latency_ms, max_latency_ms)
select system_id, configuration_id, source_id, $1, 'daily', sum(run_count), sum(healthy_count), sum(degraded_count), sum(unhealthy_count),
	sum(latency_count), sum(latency_sum_ms), min(min_latency_ms), max(max_latency_ms)
from moved group by system_id, configuration_id, source_id`

// bareRecord is Record without histograms and without looking at the age of runs.
const bareRecord = `with fresh as (
	insert into checkstack.health_check_runs (run_id, configuration_id, system_id, source_id, status, latency_ms, message, result,
		executed_at, received_at)
	select u.run_id, u.configuration_id, u.system_id, u.source_id, u.status, nullif(u.latency_ms, -1), u.message,
		nullif(u.result, '')::jsonb, u.executed_at, now()
	from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::text[], $8::text[], $9::timestamptz[])
		as u(run_id, configuration_id, system_id, source_id, status, latency_ms, message, result, executed_at)
	order by u.executed_at, u.run_id, u.system_id, u.source_id
	on conflict do nothing returning *)
insert into checkstack.health_check_aggregates as a (system_id, configuration_id, bucket_size, bucket_start, source_id,
	run_count, healthy_count, degraded_count, unhealthy_count, latency_count, latency_sum_ms, min_latency_ms, max_latency_ms)
select system_id, configuration_id, 'hourly', date_bin('1 hour', executed_at, timestamptz '2000-01-01 00:00Z') as hour, source_id,
	count(*),
	count(*) filter (where status = 'healthy'), count(*) filter (where status = 'degraded'), count(*) filter (where status = 'unhealthy'),
	count(latency_ms), coalesce(sum(latency_ms), 0), min(latency_ms), max(latency_ms)
from fresh group by system_id, configuration_id, hour, source_id order by system_id, configuration_id, hour, source_id
on conflict (system_id, configuration_id, bucket_size, bucket_start, source_id) do update set
	run_count = a.run_count + excluded.run_count, healthy_count = a.healthy_count + excluded.healthy_count,
	degraded_count = a.degraded_count + excluded.degraded_count, unhealthy_count = a.unhealthy_count + excluded.unhealthy_count,
	latency_count = a.latency_count + excluded.latency_count, latency_sum_ms = a.latency_sum_ms + excluded.latency_sum_ms,
	min_latency_ms = least(a.min_latency_ms, excluded.min_latency_ms),
	max_latency_ms = greatest(a.max_latency_ms, excluded.max_latency_ms)`

// columns are runs as bareRecord takes them.
func columns(runs []plugins.Run) []any {
	var run, configuration, system, source, status, message, result, executed pq.StringArray
	var latency pq.Int32Array
	for _, r := range runs {
		run, configuration = append(run, r.ID), append(configuration, r.ConfigurationID)
		system, source = append(system, r.SystemID), append(source, r.SourceID)
		status, message = append(status, string(r.Status)), append(message, r.Message)
		result, executed = append(result, string(r.Result)), append(executed, series.Timestamp(r.ExecutedAt))
		latency = append(latency, *r.LatencyMs)
	}
	return []any{run, configuration, system, source, status, latency, message, result, executed}
}

// median is the middle one of some times: another program on the machine disturbs it least.
func median(times []time.Duration) float64 {
	slices.Sort(times)
	return times[len(times)/2].Seconds()
}

// BenchmarkRollup moves 288,000 hourly rows, of 400 checks and 30 days, with histograms of 12 buckets: bare, into days
// that do not exist yet, and into days that do.
func BenchmarkRollup(b *testing.B) {
	const hours, checks = 720, 400
	l := newLedger(b)
	l.exec(`create table checkstack.seed as
		select 'system-' || c % 100 as system_id, md5('check' || c)::uuid as configuration_id, 'hourly' as bucket_size,
			$1::timestamptz + h * interval '1 hour' as bucket_start, '' as source_id,
			120 as runs, 110 as healthy, 5 as degraded, 5 as unhealthy,
			120 as latencies, 18000 as latency_sum, 90 as lo, 400 as hi, 200 as p95,
			(select array_agg((120 + c % 7 + (c + h * 31) % 23 + 3 * i)::smallint order by i) from generate_series(0, 11) i) as idx,
			(select array_agg(10::bigint) from generate_series(0, 11) i) as cnt, 1::smallint as v
		from generate_series(1, $2) c, generate_series(0, $3 - 1) h`, past, checks, hours)
	now := past.Add(90 * day)
	seed := func() {
		l.exec(`insert into checkstack.health_check_aggregates select * from checkstack.seed order by bucket_start`)
		l.exec(`vacuum analyze checkstack.health_check_aggregates`)
		l.exec(`checkpoint`)
	}
	roll := func(merged int64) time.Duration {
		begun := time.Now()
		if s := l.roll(now); s.HourlyRowsMoved != hours*checks || s.DailyRowsMerged != merged || s.DailyRowsInserted != hours/24*checks-merged {
			b.Fatalf("%+v", s)
		}
		return time.Since(begun)
	}
	var bare, fresh, merge []time.Duration
	for b.Loop() {
		l.exec(`truncate checkstack.health_check_aggregates`)
		seed()
		begun := time.Now()
		for d := range hours / 24 {
			if err := l.turn(b.Context(), func(tx *sql.Tx) error {
				_, err := tx.Exec(bareMove, series.Timestamp(past.Add(time.Duration(d)*day)))
				return err
			}); err != nil {
				b.Fatal(err)
			}
		}
		bare = append(bare, time.Since(begun))
		l.exec(`truncate checkstack.health_check_aggregates`)
		seed()
		fresh = append(fresh, roll(0))
		seed()
		merge = append(merge, roll(hours/24*checks))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(hours*checks/median(fresh), "rows/s")
	b.ReportMetric(hours*checks/median(merge), "merged-rows/s")
	b.ReportMetric(median(fresh)/median(bare), "x-bare")
	b.ReportMetric(median(merge)/median(bare), "merge-x-bare")
}

// BenchmarkRollupOfADay moves a day of 10,000 checks, 240,000 hourly rows with histograms of 12 buckets, into days that do not
// exist yet and into days that do, and reports its longest transaction, which is the longest anybody has to wait, and what
// the server itself allocates in all.
func BenchmarkRollupOfADay(b *testing.B) {
	const checks = 10_000
	l := newLedger(b)
	seed := func() {
		l.exec(`insert into checkstack.health_check_aggregates
			select 'system-' || c % 2000, md5('check' || c)::uuid, 'hourly', $1::timestamptz + h * interval '1 hour', '',
				120, 110, 5, 5, 120, 18000, 90, 400, 200,
				(select array_agg((120 + c % 7 + (c + h * 31) % 23 + 3 * i)::smallint order by i) from generate_series(0, 11) i),
				(select array_agg(10::bigint) from generate_series(0, 11) i), 1
			from generate_series(0, 23) h, generate_series(1, $2) c`, past, checks)
		l.exec(`vacuum analyze checkstack.health_check_aggregates`)
		l.exec(`checkpoint`)
	}
	var longest [2]time.Duration
	var whole [2][]time.Duration
	var allocated uint64
	total := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.TotalAlloc
	}
	for b.Loop() {
		l.exec(`truncate checkstack.health_check_aggregates`)
		for merge := range 2 {
			seed()
			begun := time.Now()
			last := begun
			l.progress = func(RollupSummary, int64) {
				longest[merge] = max(longest[merge], time.Since(last))
				last = time.Now()
			}
			before := total()
			if s := l.roll(past.Add(60 * day)); s.HourlyRowsMoved != 24*checks || s.DailyRowsMerged != int64(merge*checks) {
				b.Fatalf("%+v", s)
			}
			whole[merge] = append(whole[merge], time.Since(begun))
			allocated = max(allocated, total()-before)
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(longest[0].Seconds(), "longest-s")
	b.ReportMetric(longest[1].Seconds(), "longest-merging-s")
	b.ReportMetric(float64(allocated)/1024, "KiB")
	b.ReportMetric(24*checks/median(whole[0]), "rows/s")
	b.ReportMetric(24*checks/median(whole[1]), "merged-rows/s")
}

// BenchmarkRecord stores batches of 1,000 runs, each in a transaction of its own, and the same without histograms, in
// turn.
func BenchmarkRecord(b *testing.B) {
	for _, checks := range []int{1000, 100} {
		b.Run(fmt.Sprint(checks, "checks"), func(b *testing.B) {
			const batches = 40
			l := newLedger(b)
			var times, bares []time.Duration
			for b.Loop() {
				l.exec(`truncate checkstack.health_check_aggregates, checkstack.health_check_runs`)
				l.exec(`checkpoint`)
				for n := range batches {
					age := time.Duration(n-batches) * 30 * time.Second
					runs := benchmarkBatch("full", checks, age)
					begun := time.Now()
					if done := l.record(runs...); done.Stored != len(runs) {
						b.Fatalf("%+v", done)
					}
					times = append(times, time.Since(begun))
					runs = benchmarkBatch("bare", checks, age)
					begun = time.Now()
					if err := transaction(l.db, func(tx *sql.Tx) error {
						_, err := tx.Exec(bareRecord, columns(runs)...)
						return err
					}); err != nil {
						b.Fatal(err)
					}
					bares = append(bares, time.Since(begun))
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(1000/median(times), "runs/s")
			b.ReportMetric(1000/median(bares), "bare-runs/s")
			b.ReportMetric(median(times)/median(bares), "x-bare")
		})
	}
}

// BenchmarkRecordFromManyConnections stores batches of 1,000 runs of 100 checks over 4 connections, each with checks of its own,
// as servers and satellites have.
func BenchmarkRecordFromManyConnections(b *testing.B) {
	const connections, batches, checks = 4, 30, 100
	l := newLedger(b)
	var times []time.Duration
	for b.Loop() {
		b.StopTimer()
		l.exec(`truncate checkstack.health_check_aggregates, checkstack.health_check_runs`)
		l.exec(`checkpoint`)
		var all [connections][batches][]plugins.Run
		for c := range all {
			for n := range all[c] {
				all[c][n] = benchmarkBatch(fmt.Sprint("system-", c, "-"), checks, time.Duration(n-batches)*30*time.Second)
			}
		}
		b.StartTimer()
		begun := time.Now()
		var work sync.WaitGroup
		for c := range all {
			work.Go(func() {
				for _, runs := range all[c] {
					if done := l.record(runs...); done.Stored != len(runs) {
						b.Errorf("%+v", done)
					}
				}
			})
		}
		work.Wait()
		times = append(times, time.Since(begun))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(connections*batches*1000/median(times), "runs/s")
}

// BenchmarkRecordAgain stores batches of 1,000 runs of 100 checks, and sends each again.
func BenchmarkRecordAgain(b *testing.B) {
	l := newLedger(b)
	var firsts, repeats []time.Duration
	for b.Loop() {
		l.exec(`truncate checkstack.health_check_aggregates, checkstack.health_check_runs`)
		l.exec(`checkpoint`)
		for n := range 40 {
			runs := benchmarkBatch("system-", 100, time.Duration(n-40)*30*time.Second)
			begun := time.Now()
			first := l.record(runs...)
			between := time.Now()
			again := l.record(runs...)
			firsts, repeats = append(firsts, between.Sub(begun)), append(repeats, time.Since(between))
			if first.Stored != len(runs) || again.Known != len(runs) {
				b.Fatalf("%+v, %+v", first, again)
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(1000/median(repeats), "runs/s")
	b.ReportMetric(median(repeats)/median(firsts), "x-first")
}

// benchmarkBatch is 1,000 runs of so many checks.
func benchmarkBatch(system string, checks int, age time.Duration) []plugins.Run {
	runs := make([]plugins.Run, 1000)
	for i := range runs {
		runs[i] = aRun(fmt.Sprint(system, i%checks/10), i%checks, "", plugins.Healthy, int32(math.Exp(rand.NormFloat64()*0.3+5)),
			time.Now().Truncate(time.Hour).Add(age))
		runs[i].Message = "200 OK"
	}
	return runs
}
