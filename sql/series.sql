-- Reads the history of one check as at most $5 buckets that follow each other without a gap, also those without a run.
-- $1 system, $2 configuration, $3 and $4 the range
--
-- All of a day's rows, whatever their size, are in the bucket the day begins in, so that nothing is read twice or left
-- out when hours become days. Therefore the range is widened to whole hours, and to whole days where it reaches days
-- that are kept as days only. Buckets are as many whole hours long as it takes, below a day, with a bucket for each day
-- that is kept as one; else whole days.
with hours as (
  select pg_catalog.date_trunc('hour', $3::timestamptz, 'UTC') as lo,
    pg_catalog.date_trunc('hour', $4::timestamptz + interval '1 hour' - interval '1 microsecond', 'UTC') as hi
), newest as ( -- the end of the newest day that is kept as one
  select h.lo, h.hi, (
    select a.bucket_start + interval '24 hours'
    from checkstack.health_check_aggregates a
    where a.system_id = $1 and a.configuration_id = $2 and a.bucket_size = 'daily'
      and a.bucket_start > h.lo - interval '24 hours' and a.bucket_start < h.hi
    order by a.bucket_start desc
    limit 1) as day
  from hours h
), span as ( -- days to split, hours from there
  select case when day is null then lo else pg_catalog.date_trunc('day', lo, 'UTC') end as lo, coalesce(day, lo) as split,
    greatest(hi, day) as hi
  from newest
), size as (
  select s.*, extract(epoch from s.split - s.lo) / 86400 as days, extract(epoch from s.hi - s.split) / 3600 as hours,
    ceil(ceil(extract(epoch from s.hi - s.lo) / 86400) / $5::integer)::integer as coarse -- in days
  from span s
), shape as materialized (
  select s.lo, case when f.n is null then s.lo else s.split end as split, s.hi,
    coalesce(f.n, 24 * s.coarse) * interval '1 hour' as width
  from size s
  left join lateral (
    select n from pg_catalog.generate_series(1, 23) as u(n)
    where s.days + ceil(s.hours / n) <= $5::integer
    order by n
    limit 1) f on true
), bucket as (
  select b.start, b.start + interval '24 hours' as finish
  from shape s
  cross join lateral pg_catalog.generate_series(s.lo, s.split - interval '1 microsecond', interval '24 hours') as b(start)
  union all
  select b.start, least(b.start + s.width, s.hi)
  from shape s
  cross join lateral pg_catalog.generate_series(s.split, s.hi - interval '1 microsecond', s.width) as b(start)
), part as materialized (
  select case when a.bucket_start < s.split then pg_catalog.date_bin('24 hours', a.bucket_start, s.lo)
    else pg_catalog.date_bin(s.width, a.bucket_start, s.split) end as start, a.*
  from shape s
  join checkstack.health_check_aggregates a on a.system_id = $1 and a.configuration_id = $2
    and a.bucket_size in ('hourly', 'daily') and a.bucket_start >= s.lo and a.bucket_start < s.hi
), total as (
  select start, sum(run_count)::bigint as runs, sum(healthy_count)::bigint as healthy, sum(degraded_count)::bigint as degraded,
    sum(unhealthy_count)::bigint as unhealthy, sum(latency_count)::bigint as latencies,
    sum(latency_sum_ms)::bigint as latency_sum,
    min(min_latency_ms) as lo, max(max_latency_ms) as hi, max(p95_latency_ms) as p95,
    coalesce(bool_and(coalesce(latency_hist_v, 0) = 1) filter (where latency_count > 0), true) as known
  from part
  group by start
), slot as (
  select p.start, u.idx, sum(u.cnt)::bigint as cnt
  from part p
  cross join lateral unnest(p.latency_hist_idx, p.latency_hist_cnt) as u(idx, cnt)
  group by p.start, u.idx
), hist as (
  select start, array_agg(idx order by idx) as idx, array_agg(cnt order by idx) as cnt from slot group by start
)
select b.start, b.finish, coalesce(t.runs, 0), coalesce(t.healthy, 0), coalesce(t.degraded, 0), coalesce(t.unhealthy, 0),
  coalesce(t.latencies, 0), coalesce(t.latency_sum, 0), t.lo, t.hi,
  case when t.known then checkstack.hist_p95(h.idx, h.cnt, t.latencies, t.lo, t.hi) else t.p95 end
from bucket b
left join total t on t.start = b.start
left join hist h on h.start = b.start
order by b.start
