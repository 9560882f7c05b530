-- Lists the UTC days that have hourly rows to roll up, the oldest first: whole days older than the hourly retention of
-- the check.
-- $1 now, $2 the default retention of hours, in days
--
-- The first part reads what is older than the default, the second what is due sooner, by the key of each check that has
-- a retention of its own, so that neither reads the hours that stay.
select pg_catalog.date_trunc('day', a.bucket_start, 'UTC') as day
from checkstack.health_check_aggregates a
left join checkstack.health_check_retention o on o.system_id = a.system_id and o.configuration_id = a.configuration_id
where a.bucket_size = 'hourly'
  and a.bucket_start < pg_catalog.date_trunc('day', $1::timestamptz - $2::integer * interval '24 hours', 'UTC')
  and a.bucket_start < pg_catalog.date_trunc('day',
    $1::timestamptz - coalesce(o.hourly_days, $2::integer) * interval '24 hours', 'UTC')
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
