-- Deletes raw runs older than the retention of their check, of the next ten checks that have one of their own and such runs,
-- the oldest first, about a tenth of $3 of each. Returns how many, none if none is left, and the check to go on from.
-- Those that are kept the longest of all are not among them: they go when their partition is dropped (drop_partition.sql).
-- $1 now, $2 where an earlier batch began, a system and a configuration, or '' and the least UUID, $4 the default
-- retention of raw runs, in days
--
-- They go an hour after Record has stopped to accept runs as old as they are, as in expire_runs.sql.
with own as materialized (
  select o.system_id, o.configuration_id, (
    select max(d.executed_at) from (
      select r.executed_at
      from checkstack.health_check_runs r
      where r.system_id = o.system_id and r.configuration_id = o.configuration_id
        and r.executed_at < $1::timestamptz - o.raw_days * interval '24 hours' - interval '1 hour'
      order by r.executed_at
      limit $3 / 10) d) as at
  from checkstack.health_check_retention o
  where (o.system_id, o.configuration_id) >= (($2::text[])[1], ($2::text[])[2]::uuid)
    and o.raw_days < greatest($4::integer, (select max(l.raw_days) from checkstack.health_check_retention l))
    and exists (select from checkstack.health_check_runs r
                where r.system_id = o.system_id and r.configuration_id = o.configuration_id
                  and r.executed_at < $1::timestamptz - o.raw_days * interval '24 hours' - interval '1 hour')
  order by o.system_id, o.configuration_id
  limit 10
), gone as (
  delete from checkstack.health_check_runs r
  using own o
  where r.system_id = o.system_id and r.configuration_id = o.configuration_id and r.executed_at <= o.at
  returning 1
)
select (select count(*) from gone),
  (select array[o.system_id, o.configuration_id::text] from own o order by o.system_id, o.configuration_id limit 1)
