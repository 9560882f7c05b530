-- Stores a batch of runs and adds each one that is new to its hour. Returns how many were stored, the places in the
-- batch, from 1, of those that are refused, and why each.
-- $1 run, $2 configuration, $3 system, $4 source, $5 status, $6 latency or -1, $7 message, $8 result or '', $9 executed at;
-- $10 and $11 the default retention of raw runs and of days, in days
--
-- A run is known by its key; what is sent twice, in one batch or in two, is counted once. So a run whose raw row may be
-- gone already is refused: nothing could tell that it was counted before. Whoever can prove that it was not would add
-- it to fresh, without a raw row. Rows are written in the order of their keys, so that two batches at most wait for
-- each other and do not deadlock.
with sent as materialized (
  select u.n, u.run_id, u.configuration_id, u.system_id, u.source_id, u.status,
    nullif(u.latency_ms, -1) as latency_ms, u.message, u.executed_at,
    case when u.result <> '' then checkstack.json_or_null(u.result) end as result, u.result <> '' as has_result
  from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::text[], $8::text[],
    $9::timestamptz[])
    with ordinality as u(run_id, configuration_id, system_id, source_id, status, latency_ms, message, result, executed_at, n)
), batch as materialized (
  select u.*,
    case when u.executed_at > statement_timestamp() + interval '5 minutes' then 'future'
      when u.executed_at < statement_timestamp() - coalesce(o.daily_days, $11::integer) * interval '24 hours' then 'old'
      when u.executed_at < statement_timestamp() - coalesce(o.raw_days, $10::integer) * interval '24 hours' then 'late'
      when u.has_result and u.result is null then 'result' end as refused
  from sent u
  left join checkstack.health_check_retention o on o.system_id = u.system_id and o.configuration_id = u.configuration_id
), fresh as (
  insert into checkstack.health_check_runs (system_id, source_id, run_id, executed_at, configuration_id, status,
    latency_ms, message, result, received_at)
  select system_id, source_id, run_id, executed_at, configuration_id, status, latency_ms, message, result, statement_timestamp()
  from batch
  where refused is null
  order by executed_at, run_id, system_id, source_id
  on conflict do nothing
  returning system_id, configuration_id, source_id, status, latency_ms,
    date_bin('1 hour', executed_at, timestamptz '2000-01-01 00:00Z') as hour
), slot as (
  select system_id, configuration_id, hour, source_id, checkstack.hist_idx(latency_ms) as idx, count(*) as runs,
    count(*) filter (where status = 'healthy') as healthy, count(*) filter (where status = 'degraded') as degraded,
    count(*) filter (where status = 'unhealthy') as unhealthy, count(latency_ms) as latencies,
    coalesce(sum(latency_ms), 0)::bigint as latency_sum, min(latency_ms) as lo, max(latency_ms) as hi
  from fresh
  group by system_id, configuration_id, hour, source_id, idx
), added as (
  select system_id, configuration_id, hour, source_id, sum(runs)::bigint as runs, sum(healthy)::bigint as healthy,
    sum(degraded)::bigint as degraded, sum(unhealthy)::bigint as unhealthy, sum(latencies)::bigint as latencies,
    sum(latency_sum)::bigint as latency_sum, min(lo) as lo, max(hi) as hi,
    coalesce(array_agg(idx order by idx) filter (where idx is not null), '{}') as idx,
    coalesce(array_agg(latencies order by idx) filter (where idx is not null), '{}') as cnt
  from slot
  group by system_id, configuration_id, hour, source_id
), folded as (
  insert into checkstack.health_check_aggregates as a (system_id, configuration_id, bucket_size, bucket_start, source_id,
    run_count, healthy_count, degraded_count, unhealthy_count, latency_count, latency_sum_ms, min_latency_ms, max_latency_ms,
    p95_latency_ms, latency_hist_idx, latency_hist_cnt, latency_hist_v)
  select system_id, configuration_id, 'hourly', hour, source_id, runs, healthy, degraded, unhealthy,
    latencies, latency_sum, lo, hi, case when lo = hi then lo else checkstack.hist_p95(idx, cnt, latencies, lo, hi) end, idx, cnt, 1
  from added
  order by system_id, configuration_id, hour, source_id
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
select (select count(*) from fresh), array_agg(n order by n), array_agg(refused order by n) from batch where refused is not null
