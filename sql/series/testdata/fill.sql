-- Fills the history of a number of checks, of one system each, that have latencies in 12 buckets. The rows are written in
-- the order of time, as they are in life.
-- $1 how many checks, $2 the size of the rows, hourly or daily, $3 from and $4 to when, $5 how often each runs in an hour
insert into checkstack.health_check_aggregates (system_id, configuration_id, bucket_size, bucket_start, source_id,
  run_count, healthy_count, degraded_count, unhealthy_count, latency_count, latency_sum_ms, min_latency_ms, max_latency_ms,
  p95_latency_ms, latency_hist_idx, latency_hist_cnt, latency_hist_v)
select c.system, c.configuration, $2, t.start, '',
  12 * t.each, 12 * t.each - t.each / 2, 0, t.each / 2, 12 * t.each, 12 * t.each * checkstack.hist_ms((b.least + 15)::smallint),
  checkstack.hist_ms(b.least::smallint), checkstack.hist_ms((b.least + 33)::smallint), checkstack.hist_ms((b.least + 33)::smallint),
  array[b.least, b.least + 3, b.least + 6, b.least + 9, b.least + 12, b.least + 15, b.least + 18, b.least + 21, b.least + 24,
    b.least + 27, b.least + 30, b.least + 33]::smallint[],
  array_fill(t.each, array[12]), 1
from (
  select start, (extract(epoch from start) / 3600)::bigint % 1000 * 31 as place,
    greatest(1, $5::integer * case $2 when 'daily' then 24 else 1 end / 12)::bigint as each
  from pg_catalog.generate_series($3::timestamptz, $4::timestamptz - interval '1 microsecond',
    case $2 when 'daily' then interval '24 hours' else interval '1 hour' end) as g(start)) t
cross join (
  select n, md5('system ' || n)::uuid::text as system, md5('check ' || n)::uuid as configuration
  from pg_catalog.generate_series(1, $1::integer) as g(n)
  order by system) c
cross join lateral (select 60 + c.n % 3 + (c.n + t.place) % 5 as least) b
