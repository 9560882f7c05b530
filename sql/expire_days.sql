-- Deletes daily rows whose day is wholly older than the default retention of days, the oldest first, about $3 at a time, of
-- the checks that have no retention of their own; so has a check that no longer exists. Returns how many, none if none is
-- left, and the day to go on from.
-- $1 now, $2 where an earlier batch ended, or '-infinity', $4 the default retention of days, in days
--
-- It first finds the time up to which to delete and then deletes that range of an index: no list of rows to join, which
-- would be slow where the planner's statistics are old.
with until as materialized (
  select max(d.bucket_start) as day from (
    select a.bucket_start
    from checkstack.health_check_aggregates a
    where a.bucket_size = 'daily' and a.bucket_start >= ($2::text[])[1]::timestamptz
      and a.bucket_start <= $1::timestamptz - ($4::integer + 1) * interval '24 hours'
      and not exists (select from checkstack.health_check_retention o
                      where o.system_id = a.system_id and o.configuration_id = a.configuration_id)
    order by a.bucket_start
    limit $3) d
), gone as (
  delete from checkstack.health_check_aggregates a
  where a.bucket_size = 'daily' and a.bucket_start >= ($2::text[])[1]::timestamptz
    and a.bucket_start <= (select day from until)
    and not exists (select from checkstack.health_check_retention o
                    where o.system_id = a.system_id and o.configuration_id = a.configuration_id)
  returning 1
)
select (select count(*) from gone), (select array[day::text] from until where day is not null)
