-- Counts the raw runs of one check, or of all checks of a system, as far as 100,000, so that it costs a few milliseconds at
-- most.
-- $1 system, $2 configuration or ''
--
-- Two queries, of which one finds nothing at once, so that each has the plan that suits it.
select count(*)
from (
  (select from checkstack.health_check_runs r where $2 = '' and r.system_id = $1 limit 100000)
  union all
  (select from checkstack.health_check_runs r
   where r.system_id = $1 and r.configuration_id = nullif($2, '')::uuid limit 100000)) counted
