-- Divides the hourly rows of one UTC day into parts for a transaction each: the last system of each part, in order, and how
-- many rows it has, which are at most $2 and those of one system. A part is a whole number of systems. What is recorded
-- meanwhile of systems after the last one is for the next roll-up.
-- $1 the start of the day
select max(s.system_id) as last, sum(s.hours)::bigint as hours
from (
  select a.system_id, count(*) as hours, sum(count(*)) over (order by a.system_id) as through
  from checkstack.health_check_aggregates a
  where a.bucket_size = 'hourly' and a.bucket_start >= $1 and a.bucket_start < $1::timestamptz + interval '24 hours'
  group by a.system_id) s
group by pg_catalog.div(s.through - 1, $2::integer)
order by last
