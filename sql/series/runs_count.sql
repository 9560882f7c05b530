-- Counts the raw runs of one check, or of all checks of a system, as far as 100,000, so that it costs a few
-- milliseconds at most.
-- $1 system, $2 configuration or '', $3 source or null, $4 statuses or null, $5 the time from which on,
-- $6 and before which
--
-- Two queries, of which one finds nothing at once, so that each has the plan that suits it. The planner drops the
-- condition of the source where $3 is null; otherwise the runs of others are read over, at worst all of them.
select count(*)
from (
  (select from checkstack.health_check_runs r
   where $2 = '' and r.system_id = $1 and r.executed_at >= $5 and r.executed_at < $6 and ($3::text is null or r.source_id = $3)
     and ($4::text[] is null or r.status = any ($4)) limit 100000)
  union all
  (select from checkstack.health_check_runs r
   where r.system_id = $1 and r.configuration_id = nullif($2, '')::uuid
     and r.executed_at >= $5 and r.executed_at < $6 and ($3::text is null or r.source_id = $3) and ($4::text[] is null or r.status = any ($4))
   limit 100000)) counted
