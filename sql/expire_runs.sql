-- Deletes raw runs older than the default retention, the oldest first, about $3 at a time, of the checks that have no
-- retention of their own; so has a check that no longer exists. Returns how many, none if none is left, and the time to
-- go on from. Where no check is kept longer than that, it does nothing: whole partitions are dropped instead
-- (drop_partition.sql).
-- $1 now, $2 where an earlier batch ended, or '-infinity', $4 the default retention of raw runs, in days
--
-- They go an hour after Record has stopped to accept runs as old as they are, so that no repeat of a run can be accepted
-- when nothing tells any more that it is one. It works as expire_days.sql does, by ranges of time, so that it reads the
-- partitions of that time only.
with until as materialized (
  select max(d.executed_at) as at from (
    select r.executed_at
    from checkstack.health_check_runs r
    where r.executed_at >= ($2::text[])[1]::timestamptz
      and r.executed_at < $1::timestamptz - $4::integer * interval '24 hours' - interval '1 hour'
      and $4::integer < (select max(o.raw_days) from checkstack.health_check_retention o)
      and not exists (select from checkstack.health_check_retention o
                      where o.system_id = r.system_id and o.configuration_id = r.configuration_id)
    order by r.executed_at
    limit $3) d
), gone as (
  delete from checkstack.health_check_runs r
  where r.executed_at >= ($2::text[])[1]::timestamptz and r.executed_at <= (select at from until)
    and not exists (select from checkstack.health_check_retention o
                    where o.system_id = r.system_id and o.configuration_id = r.configuration_id)
  returning 1
)
select (select count(*) from gone), (select array[at::text] from until where at is not null)
