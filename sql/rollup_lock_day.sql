-- Takes the UTC day $1 (days since 1970-01-01) for the roll-up alone, until the transaction ends: it waits for the
-- recorders of late runs of that day, and they for it (record_late.sql).
select pg_catalog.pg_advisory_xact_lock(20031, $1::integer)
