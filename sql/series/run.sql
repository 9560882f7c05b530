-- One raw run of a system, $1, by its ID, $2. The sources that ever made a run of the system are told by its sums, so that
-- the key of the runs finds it in each partition.
with sources as (
  select distinct a.source_id from checkstack.health_check_aggregates a where a.system_id = $1
)
select r.run_id, r.configuration_id, r.system_id, r.source_id, r.status, r.latency_ms, r.message, r.result, r.executed_at
from sources s
cross join lateral (
  select * from checkstack.health_check_runs r
  where r.system_id = $1 and r.source_id = s.source_id and r.run_id = $2::uuid) r
limit 1
