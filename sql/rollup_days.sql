-- Lists the UTC days that have hourly rows to roll up, the oldest first: whole days older than the hourly retention of
-- the check.
-- $1 now, $2 the default retention of hours, in days
--
-- The first part goes from each day with hours that are older than the default to the next one by the index, so that a
-- year of them takes no longer than a day; days are left out where all such hours are of checks that keep them longer. The
-- second reads what is due sooner, by the key of each check that has a retention of its own. Neither reads the hours
-- that stay.
with recursive until as materialized (
  select pg_catalog.date_trunc('day', $1::timestamptz - $2::integer * interval '24 hours', 'UTC') as day
), general (day) as (
  select (
    select pg_catalog.date_trunc('day', a.bucket_start, 'UTC')
    from checkstack.health_check_aggregates a
    where a.bucket_size = 'hourly' and a.bucket_start < (select day from until)
    order by a.bucket_start
    limit 1)
  union all
  select (
    select pg_catalog.date_trunc('day', a.bucket_start, 'UTC')
    from checkstack.health_check_aggregates a
    where a.bucket_size = 'hourly' and a.bucket_start >= g.day + interval '24 hours'
      and a.bucket_start < (select day from until)
    order by a.bucket_start
    limit 1)
  from general g
  where g.day is not null
)
select g.day
from general g
where exists (
  select
  from checkstack.health_check_aggregates a
  left join checkstack.health_check_retention o on o.system_id = a.system_id and o.configuration_id = a.configuration_id
  where a.bucket_size = 'hourly' and a.bucket_start >= g.day and a.bucket_start < g.day + interval '24 hours'
    and g.day + interval '24 hours' <= $1::timestamptz - coalesce(o.hourly_days, $2::integer) * interval '24 hours')
union
select d.day
from checkstack.health_check_retention o
cross join lateral (
  select pg_catalog.date_trunc('day', a.bucket_start, 'UTC') as day
  from checkstack.health_check_aggregates a
  where a.system_id = o.system_id and a.configuration_id = o.configuration_id and a.bucket_size = 'hourly'
    and a.bucket_start < pg_catalog.date_trunc('day', $1::timestamptz - o.hourly_days * interval '24 hours', 'UTC')
  group by 1) d
where o.hourly_days < $2::integer
order by day
