-- Deletes daily rows whose day is wholly older than the retention of days of their check, of the next ten checks that have
-- one of their own and such rows, the oldest first, about a tenth of $3 of each. Returns how many, none if none is left,
-- and the check to go on from.
-- $1 now, $2 where an earlier batch began, a system and a configuration, or '' and the least UUID
with own as materialized (
  select o.system_id, o.configuration_id, (
    select max(d.bucket_start) from (
      select a.bucket_start
      from checkstack.health_check_aggregates a
      where a.system_id = o.system_id and a.configuration_id = o.configuration_id and a.bucket_size = 'daily'
        and a.bucket_start <= $1::timestamptz - (o.daily_days + 1) * interval '24 hours'
      order by a.bucket_start
      limit $3 / 10) d) as day
  from checkstack.health_check_retention o
  where (o.system_id, o.configuration_id) >= (($2::text[])[1], ($2::text[])[2]::uuid)
    and exists (select from checkstack.health_check_aggregates a
                where a.system_id = o.system_id and a.configuration_id = o.configuration_id and a.bucket_size = 'daily'
                  and a.bucket_start <= $1::timestamptz - (o.daily_days + 1) * interval '24 hours')
  order by o.system_id, o.configuration_id
  limit 10
), gone as (
  delete from checkstack.health_check_aggregates a
  using own o
  where a.system_id = o.system_id and a.configuration_id = o.configuration_id and a.bucket_size = 'daily'
    and a.bucket_start <= o.day
  returning 1
)
select (select count(*) from gone),
  (select array[o.system_id, o.configuration_id::text] from own o order by o.system_id, o.configuration_id limit 1)
