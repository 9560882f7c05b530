-- Moves the hourly rows of one UTC day and of the systems after $4 up to $5 into daily rows, except those of checks whose
-- hours are kept longer. Returns how many hourly rows were moved and how many daily rows were made and how many added to.
-- $1 the start of the day, $2 now, $3 the default retention of hours, in days
--
-- It is one statement so that every row is deleted and added exactly once, whatever else runs and whenever it is
-- killed. Only the server whose turn it is makes daily rows, so the ones to add to are those that are there when it
-- begins.
with moved as (
  delete from checkstack.health_check_aggregates a
  where a.bucket_size = 'hourly' and a.bucket_start >= $1 and a.bucket_start < $1::timestamptz + interval '24 hours'
    and a.system_id > $4 and a.system_id <= $5
    and case when exists (select from checkstack.health_check_retention o
                          where o.system_id = a.system_id and o.configuration_id = a.configuration_id)
        then exists (select from checkstack.health_check_retention o
                     where o.system_id = a.system_id and o.configuration_id = a.configuration_id
                       and $1::timestamptz + interval '24 hours' <= $2::timestamptz - o.hourly_days * interval '24 hours')
        else $1::timestamptz + interval '24 hours' <= $2::timestamptz - $3::integer * interval '24 hours' end
  returning a.*
), day as (
  select system_id, configuration_id, source_id, count(*) as hours, sum(run_count)::bigint as runs,
    sum(healthy_count)::bigint as healthy,
    sum(degraded_count)::bigint as degraded, sum(unhealthy_count)::bigint as unhealthy, sum(latency_count)::bigint as latencies,
    sum(latency_sum_ms)::bigint as latency_sum, min(min_latency_ms) as lo, max(max_latency_ms) as hi,
    max(p95_latency_ms) as p95,
    coalesce(bool_and(coalesce(latency_hist_v, 0) = 1) filter (where latency_count > 0), true) as known,
    checkstack.hist_idxs(latency_hist_idx) as idxs, checkstack.hist_cnts(latency_hist_cnt) as cnts
  from moved
  group by system_id, configuration_id, source_id
), made as (
  insert into checkstack.health_check_aggregates as a (system_id, configuration_id, bucket_size, bucket_start, source_id,
    run_count, healthy_count, degraded_count, unhealthy_count, latency_count, latency_sum_ms, min_latency_ms, max_latency_ms,
    p95_latency_ms, latency_hist_idx, latency_hist_cnt, latency_hist_v)
  select d.system_id, d.configuration_id, 'daily', $1, d.source_id,
    d.runs, d.healthy, d.degraded, d.unhealthy, d.latencies, d.latency_sum, d.lo, d.hi,
    case when d.known then checkstack.hist_p95(h.idx, h.cnt, d.latencies, d.lo, d.hi) else d.p95 end,
    coalesce(h.idx, '{}'), coalesce(h.cnt, '{}'), case when d.known then 1 end
  from day d
  cross join lateral (
    select array_agg(s.idx order by s.idx) as idx, array_agg(s.cnt order by s.idx) as cnt
    from (select u.idx, sum(u.cnt)::bigint as cnt from unnest(d.idxs, d.cnts) as u(idx, cnt) where d.known group by u.idx) s) h
  order by d.system_id, d.configuration_id, d.source_id
  on conflict (system_id, configuration_id, bucket_size, bucket_start, source_id) do update set
    run_count = a.run_count + excluded.run_count,
    healthy_count = a.healthy_count + excluded.healthy_count,
    degraded_count = a.degraded_count + excluded.degraded_count,
    unhealthy_count = a.unhealthy_count + excluded.unhealthy_count,
    latency_count = a.latency_count + excluded.latency_count,
    latency_sum_ms = a.latency_sum_ms + excluded.latency_sum_ms,
    min_latency_ms = least(a.min_latency_ms, excluded.min_latency_ms),
    max_latency_ms = greatest(a.max_latency_ms, excluded.max_latency_ms),
    (latency_hist_idx, latency_hist_cnt, latency_hist_v, p95_latency_ms) = (
      select m.idx, m.cnt, m.v, m.p95 from checkstack.hist_merge(
        a.latency_hist_idx, a.latency_hist_cnt, a.latency_hist_v, a.latency_count, a.p95_latency_ms,
        excluded.latency_hist_idx, excluded.latency_hist_cnt, excluded.latency_hist_v, excluded.latency_count,
        excluded.p95_latency_ms,
        least(a.min_latency_ms, excluded.min_latency_ms), greatest(a.max_latency_ms, excluded.max_latency_ms)) m)
)
select coalesce(sum(d.hours), 0)::bigint as moved, count(*) filter (where not d.there) as inserted,
  count(*) filter (where d.there) as merged
from (
  select day.hours, exists (
    select from checkstack.health_check_aggregates a
    where a.system_id = day.system_id and a.configuration_id = day.configuration_id and a.bucket_size = 'daily'
      and a.bucket_start = $1 and a.source_id = day.source_id) as there
  from day) d
