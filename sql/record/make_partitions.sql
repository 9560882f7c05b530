-- Makes the partitions of raw runs that are missing, from an hour before the longest retention of any check, which is when the next
-- older one is dropped, to a week ahead, and returns how many it made. Nothing is locked where none is missing.
-- $1 the default retention of raw runs, in days
select checkstack.make_run_partitions(
  statement_timestamp() - l.days * interval '24 hours' - interval '1 hour', statement_timestamp() + interval '168 hours')
from (select greatest($1::integer, max(o.raw_days)) as days from checkstack.health_check_retention o) l
