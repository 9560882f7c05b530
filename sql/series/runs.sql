-- Lists the newest runs of one check, or of all checks of a system: of each check by its index only as many as are
-- asked for, so that the cost does not grow with the history.
-- $1 system, $2 configuration or null, $3 and $4 the run before which to begin, by time and ID, $5 how many,
-- $6 source or null, $7 statuses or null, $8 the time from which on, $9 and before which
--
-- Which checks have runs is told by their sums, which are kept longer and are not divided by day: to look for them
-- in each partition of the runs would take most of the time. They also tell which checks a source never made, so that
-- the runs of these are not searched for it in vain; in those of the others, the runs of other sources are read over.
-- The planner drops what $6 and $7 are for where they are null.
with recursive checks (configuration_id) as (
  select coalesce($2::uuid, (select a.configuration_id from checkstack.health_check_aggregates a
    where a.system_id = $1 order by a.configuration_id limit 1))
  union all
  select (select a.configuration_id from checkstack.health_check_aggregates a
          where a.system_id = $1 and a.configuration_id > c.configuration_id order by a.configuration_id limit 1)
  from checks c
  where $2::uuid is null and c.configuration_id is not null
)
select r.run_id, r.configuration_id, r.system_id, r.source_id, r.status, r.latency_ms, r.message, r.result, r.executed_at
from checks c
cross join lateral (
  select * from checkstack.health_check_runs r
  where r.system_id = $1 and r.configuration_id = c.configuration_id
    and r.executed_at <= $3 -- so that days after it are not looked at
    and (r.executed_at, r.run_id) < ($3::timestamptz, $4::uuid)
    and r.executed_at >= $8 and r.executed_at < $9
    and ($6::text is null or r.source_id = $6)
    and ($7::text[] is null or r.status = any ($7))
  order by r.executed_at desc, r.run_id desc
  limit $5) r
where $6::text is null or (
  select true from checkstack.health_check_aggregates a
  where a.system_id = $1 and a.configuration_id = c.configuration_id and a.source_id = $6
  limit 1)
order by r.executed_at desc, r.run_id desc
limit $5
