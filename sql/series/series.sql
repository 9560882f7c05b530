-- Reads the sums of one check over a range of time, the oldest first, each with the end of the newest day in the range that is
-- kept as one.
-- $1 system, $2 configuration, $3 and $4 the range, to the hour, $5 the UTC day that the range begins in
--
-- A range that reaches days that are kept as one is widened to whole days, so that it has all of a day or nothing of it.
with newest as materialized (
  select (
    select a.bucket_start + interval '24 hours'
    from checkstack.health_check_aggregates a
    where a.system_id = $1 and a.configuration_id = $2 and a.bucket_size = 'daily'
      and a.bucket_start > $3::timestamptz - interval '24 hours' and a.bucket_start < $4
    order by a.bucket_start desc
    limit 1) as day
), span as materialized (
  select day, case when day is null then $3 else $5::timestamptz end as lo, greatest($4, day) as hi from newest
)
select s.day, a.bucket_start, a.run_count, a.healthy_count, a.degraded_count, a.unhealthy_count, a.latency_count, a.latency_sum_ms,
  coalesce(a.min_latency_ms, 0), coalesce(a.max_latency_ms, 0), coalesce(a.p95_latency_ms, 0),
  a.latency_hist_idx, a.latency_hist_cnt, coalesce(a.latency_hist_v, 0)
from span s
cross join lateral ( -- each by its own stretch of the key
  select * from checkstack.health_check_aggregates h
  where h.system_id = $1 and h.configuration_id = $2 and h.bucket_size = 'hourly' and h.bucket_start >= s.lo and h.bucket_start < s.hi
  union all
  select * from checkstack.health_check_aggregates d
  where d.system_id = $1 and d.configuration_id = $2 and d.bucket_size = 'daily' and d.bucket_start >= s.lo and d.bucket_start < s.hi
) a
order by a.bucket_start
