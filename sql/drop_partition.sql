-- Drops the oldest partition of raw runs, if all it is for is an hour older than the longest retention of any check: then
-- Record has long stopped to accept runs for it. Returns its name and how many runs it had, or nulls. It waits for those
-- who use the raw runs 2 seconds at the most (55P03).
-- $1 now, $2 the default retention of raw runs, in days
select d.partition, d.runs
from checkstack.drop_run_partition($1::timestamptz - interval '1 hour'
  - greatest($2::integer, (select max(o.raw_days) from checkstack.health_check_retention o)) * interval '24 hours') d
