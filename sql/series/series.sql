-- Reads the sums of one check over a range of time, the oldest first, each with the end of the newest day in the range
-- that is kept as one.
-- $1 system, $2 configuration, $3 and $4 the range, to the hour, $5 the UTC day that the range begins in, $6 source or
-- null
--
-- A range that reaches days that are kept as one is widened to whole days, so that it has all of a day or nothing of
-- it. The newest day is that of all sources together, also where one is asked for, and is told by a row of zeros where
-- there is nothing else to read. The planner drops the conditions of the source where $6 is null.
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
select s.day, coalesce(a.bucket_start, s.lo), coalesce(a.run_count, 0), coalesce(a.healthy_count, 0),
  coalesce(a.degraded_count, 0), coalesce(a.unhealthy_count, 0), coalesce(a.latency_count, 0), coalesce(a.latency_sum_ms, 0),
  coalesce(a.min_latency_ms, 0), coalesce(a.max_latency_ms, 0), coalesce(a.p95_latency_ms, 0),
  coalesce(a.latency_hist_idx, '{}'), coalesce(a.latency_hist_cnt, '{}'), coalesce(a.latency_hist_v, 0)
from span s
left join lateral ( -- each by its own stretch of the key
  select * from checkstack.health_check_aggregates h
  where h.system_id = $1 and h.configuration_id = $2 and h.bucket_size = 'hourly'
    and h.bucket_start >= s.lo and h.bucket_start < s.hi
    and ($6::text is null or h.source_id = $6)
  union all
  select * from checkstack.health_check_aggregates d
  where d.system_id = $1 and d.configuration_id = $2 and d.bucket_size = 'daily'
    and d.bucket_start >= s.lo and d.bucket_start < s.hi
    and ($6::text is null or d.source_id = $6)
) a on true
order by a.bucket_start
