-- Stores a batch of runs and adds each one that is new to its hour. Returns how many were stored, the places in the
-- batch, from 1, of those that are refused, and why each.
-- $1 run, $2 configuration, $3 system, $4 source, $5 status, $6 latency or -1, $7 message, $8 result or '', $9 executed at;
-- $10 and $11 the default retention of raw runs and of days, in days; $12 whether the caller knows that none was recorded
-- before
--
-- A run is known by its key; what is sent twice, in one batch or in two, is counted once. So a run whose raw row may be
-- gone already is refused, as nothing could tell that it was counted before, unless the caller knows that it was not: then
-- it is counted without a raw row. Rows are written in the order of their keys, so that two batches at most wait for
-- each other and do not deadlock.
--
-- Most hours of most batches get one latency or a few equal ones. Those need no list of buckets to be sorted and counted,
-- and are put into the stored histogram by expressions (hist_put_*). Where "offset 0" ends a subquery, it keeps what is
-- in it from being computed once for each place that names it.
with aged as (
  select u.*, o.daily_days, u.executed_at < greatest(o.raw_since,
    statement_timestamp() - coalesce(o.raw_days, $10::integer) * interval '24 hours') as late
  from (
    select s.n, s.run_id, s.configuration_id, s.system_id, s.source_id, s.status, nullif(s.latency_ms, -1) as latency_ms,
      s.message, s.executed_at, case when s.result <> '' then checkstack.json_or_null(s.result) end as result,
      s.result <> '' as has_result
    from ( -- side by side like this, unnest does not first put each column into a table of its own
      select generate_subscripts($1::uuid[], 1) as n, unnest($1::uuid[]) as run_id, unnest($2::uuid[]) as configuration_id,
        unnest($3::text[]) as system_id, unnest($4::text[]) as source_id, unnest($5::text[]) as status,
        unnest($6::integer[]) as latency_ms, unnest($7::text[]) as message, unnest($8::text[]) as result,
        unnest($9::timestamptz[]) as executed_at) s
    offset 0) u
  left join checkstack.health_check_retention o on o.system_id = u.system_id and o.configuration_id = u.configuration_id
), batch as materialized (
  select u.*,
    case when u.executed_at > statement_timestamp() + interval '5 minutes' then 'future'
      when u.executed_at < statement_timestamp() - coalesce(u.daily_days, $11::integer) * interval '24 hours' then 'old'
      when u.late and not $12::boolean then 'late'
      when u.has_result and u.result is null then 'result' end as refused
  from aged u
), stored as (
  insert into checkstack.health_check_runs (system_id, source_id, run_id, executed_at, configuration_id, status,
    latency_ms, message, result, received_at)
  select system_id, source_id, run_id, executed_at, configuration_id, status, latency_ms, message, result, statement_timestamp()
  from batch
  where refused is null and not late
  order by executed_at, run_id, system_id, source_id, n
  on conflict do nothing
  returning system_id, configuration_id, source_id, status, latency_ms, executed_at
), fresh as (
  select * from stored
  union all
  (select distinct on (executed_at, run_id, system_id, source_id)
    system_id, configuration_id, source_id, status, latency_ms, executed_at
  from batch
  where refused is null and late
  order by executed_at, run_id, system_id, source_id, n)
), added as (
  select system_id, configuration_id, date_bin('1 hour', executed_at, timestamptz '2000-01-01 00:00Z') as hour, source_id,
    count(*) as runs, count(*) filter (where status = 'healthy') as healthy,
    count(*) filter (where status = 'degraded') as degraded, count(*) filter (where status = 'unhealthy') as unhealthy,
    count(latency_ms) as latencies,
    coalesce(sum(latency_ms), 0) as latency_sum, min(latency_ms) as lo, max(latency_ms) as hi, array_agg(latency_ms) as ms
  from fresh
  group by system_id, configuration_id, hour, source_id
), counted as (
  select a.*,
    case when lo is null then '{}' when lo = hi then array[checkstack.hist_idx(lo)]
      else array(select distinct checkstack.hist_idx(u.ms) as idx from unnest(a.ms) as u(ms) where u.ms is not null
                 order by idx) end as idx,
    case when lo is null then '{}' when lo = hi then array[latencies]
      else array(select count(*) from unnest(a.ms) as u(ms) where u.ms is not null
                 group by checkstack.hist_idx(u.ms) order by checkstack.hist_idx(u.ms)) end as cnt
  from added a
  offset 0
), folded as (
  insert into checkstack.health_check_aggregates as a (system_id, configuration_id, bucket_size, bucket_start, source_id,
    run_count, healthy_count, degraded_count, unhealthy_count, latency_count, latency_sum_ms, min_latency_ms, max_latency_ms,
    p95_latency_ms, latency_hist_idx, latency_hist_cnt, latency_hist_v)
  select system_id, configuration_id, 'hourly', hour, source_id, runs, healthy, degraded, unhealthy, latencies, latency_sum, lo, hi,
    case when lo = hi then lo else checkstack.hist_p95(idx, cnt, latencies, lo, hi) end, idx, cnt, 1
  from counted
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
      select
        case when k.one then checkstack.hist_put_idx(a.latency_hist_idx, excluded.latency_hist_idx[1]) else m.idx end,
        case when k.one then checkstack.hist_put_cnt(a.latency_hist_idx, a.latency_hist_cnt,
            excluded.latency_hist_idx[1], excluded.latency_count) else m.cnt end,
        case when k.one then 1 else m.v end,
        case when k.one then checkstack.hist_put_p95(a.latency_hist_idx, a.latency_hist_cnt, a.latency_count, a.p95_latency_ms,
            excluded.latency_hist_idx[1], excluded.latency_count,
            least(a.min_latency_ms, excluded.min_latency_ms), greatest(a.max_latency_ms, excluded.max_latency_ms)) else m.p95 end
      from (select coalesce(a.latency_hist_v = 1 and excluded.latency_hist_v = 1 and a.latency_count > 0
                and pg_catalog.cardinality(excluded.latency_hist_idx) = 1, false) as one offset 0) k
      left join lateral ( -- is not called where it is not needed: offset 0 keeps the condition before it
        select r.idx, r.cnt, r.v, r.p95 from checkstack.hist_merge(
          a.latency_hist_idx, a.latency_hist_cnt, a.latency_hist_v, a.latency_count, a.p95_latency_ms,
          excluded.latency_hist_idx, excluded.latency_hist_cnt, excluded.latency_hist_v, excluded.latency_count,
          excluded.p95_latency_ms,
          least(a.min_latency_ms, excluded.min_latency_ms), greatest(a.max_latency_ms, excluded.max_latency_ms)) r
        where not k.one
        offset 0) m on true)
)
select (select count(*) from fresh), array_agg(n order by n), array_agg(refused order by n) from batch where refused is not null
