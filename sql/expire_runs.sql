-- Deletes raw runs older than the raw retention of their check, the oldest first, and returns how many and the time to
-- go on from: about
-- $3 of the checks with the default retention, and of each of ten that have one of their own a tenth of that. None is left
-- once it returns 0. They go an hour after Record has stopped to accept runs as old as they are, so that no repeat of a
-- run can be accepted when nothing tells any more that it is one.
-- $1 now, $2 the time an earlier batch ended at, or '-infinity', $4 the default retention of raw runs, in days
--
-- It works as expire_days.sql does, by ranges of time, which holds for tables that are partitioned by time too.
with until as materialized (
  select max(d.executed_at) as at from (
    select r.executed_at
    from checkstack.health_check_runs r
    where r.executed_at >= $2 and r.executed_at < $1::timestamptz - $4::integer * interval '24 hours' - interval '1 hour'
      and not exists (select from checkstack.health_check_retention o
                      where o.system_id = r.system_id and o.configuration_id = r.configuration_id)
    order by r.executed_at
    limit $3) d
), general as (
  delete from checkstack.health_check_runs r
  where r.executed_at >= $2 and r.executed_at <= (select at from until)
    and not exists (select from checkstack.health_check_retention o
                    where o.system_id = r.system_id and o.configuration_id = r.configuration_id)
  returning 1
), own as materialized (
  select o.system_id, o.configuration_id, (
    select max(d.executed_at) from (
      select r.executed_at
      from checkstack.health_check_runs r
      where r.system_id = o.system_id and r.configuration_id = o.configuration_id
        and r.executed_at < $1::timestamptz - o.raw_days * interval '24 hours' - interval '1 hour'
      order by r.executed_at
      limit $3 / 10) d) as at
  from checkstack.health_check_retention o
  where exists (select from checkstack.health_check_runs r
                where r.system_id = o.system_id and r.configuration_id = o.configuration_id
                  and r.executed_at < $1::timestamptz - o.raw_days * interval '24 hours' - interval '1 hour')
  limit 10
), special as (
  delete from checkstack.health_check_runs r
  using own o
  where r.system_id = o.system_id and r.configuration_id = o.configuration_id and r.executed_at <= o.at
  returning 1
)
select (select count(*) from general) + (select count(*) from special), coalesce((select at from until), $2::timestamptz)
