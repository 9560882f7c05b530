-- Takes the lock of a UTC day, given by its key, for the roll-up alone, until the transaction ends: it waits for the
-- recorders of late runs of that day, and they for it (record/lock_days.sql).
select pg_catalog.pg_advisory_xact_lock(20031, $1::integer)
