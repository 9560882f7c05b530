-- Deletes what is left of retentions that were put back to the defaults, once the raw runs are complete for as long as the
-- default says, by the database's own clock.
-- $1 the default retention of raw runs, in days
delete from checkstack.health_check_retention
where reset and raw_since < statement_timestamp() - $1::integer * interval '24 hours' - interval '1 hour'
