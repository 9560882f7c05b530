-- Adds up the hours and the days of each of the systems, of all its checks and sources together, apart for each stretch
-- of time between two windows' beginnings: those it is after are true.
-- $1 systems, $2 to $6 when the windows begin, the shortest first
--
-- The stretches are told apart by truth values and not by a number, because the planner knows how few groups these
-- make: so it adds up in memory, and on several cores.
select system_id, bucket_start >= $2, bucket_start >= $3, bucket_start >= $4, bucket_start >= $5,
  sum(run_count)::bigint, sum(unhealthy_count)::bigint
from checkstack.health_check_aggregates
where system_id = any ($1::text[]) and bucket_start >= $6
group by 1, 2, 3, 4, 5
