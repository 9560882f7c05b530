-- Lists the hours and the days of all checks that begin at or after $1 and before $2, as they are at this moment, in
-- the order of their key.
select bucket_start, bucket_size, system_id, configuration_id, source_id,
  run_count, healthy_count, degraded_count, unhealthy_count, latency_count, latency_sum_ms, min_latency_ms, max_latency_ms, p95_latency_ms
from checkstack.health_check_aggregates
where bucket_start >= $1 and bucket_start < $2
order by system_id, configuration_id, bucket_size, bucket_start, source_id
