-- Deletes daily rows whose day is wholly older than the daily retention of their check, the oldest first, and returns
-- how many and the day to go on from: about $3 of the checks with the default retention, and of each of ten that have
-- one of their own a tenth of that. None is left once it returns 0. A check that no longer exists has no retention of
-- its own.
-- $1 now, $2 the day an earlier batch ended at, or '-infinity', $4 the default retention of days, in days
--
-- It first finds the time up to which to delete and then deletes that range of an index: no list of rows to join, which
-- would be slow where the planner's statistics are old.
with until as materialized (
  select max(d.bucket_start) as day from (
    select a.bucket_start
    from checkstack.health_check_aggregates a
    where a.bucket_size = 'daily' and a.bucket_start >= $2
      and a.bucket_start <= $1::timestamptz - ($4::integer + 1) * interval '24 hours'
      and not exists (select from checkstack.health_check_retention o
                      where o.system_id = a.system_id and o.configuration_id = a.configuration_id)
    order by a.bucket_start
    limit $3) d
), general as (
  delete from checkstack.health_check_aggregates a
  where a.bucket_size = 'daily' and a.bucket_start >= $2 and a.bucket_start <= (select day from until)
    and not exists (select from checkstack.health_check_retention o
                    where o.system_id = a.system_id and o.configuration_id = a.configuration_id)
  returning 1
), own as materialized (
  select o.system_id, o.configuration_id, (
    select max(d.bucket_start) from (
      select a.bucket_start
      from checkstack.health_check_aggregates a
      where a.system_id = o.system_id and a.configuration_id = o.configuration_id and a.bucket_size = 'daily'
        and a.bucket_start <= $1::timestamptz - (o.daily_days + 1) * interval '24 hours'
      order by a.bucket_start
      limit $3 / 10) d) as day
  from checkstack.health_check_retention o
  where exists (select from checkstack.health_check_aggregates a
                where a.system_id = o.system_id and a.configuration_id = o.configuration_id and a.bucket_size = 'daily'
                  and a.bucket_start <= $1::timestamptz - (o.daily_days + 1) * interval '24 hours')
  limit 10
), special as (
  delete from checkstack.health_check_aggregates a
  using own o
  where a.system_id = o.system_id and a.configuration_id = o.configuration_id and a.bucket_size = 'daily'
    and a.bucket_start <= o.day
  returning 1
)
select (select count(*) from general) + (select count(*) from special), coalesce((select day from until), $2::timestamptz)
