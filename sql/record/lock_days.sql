-- Takes the locks of the UTC days a batch of late runs belongs to, given by their keys, until the transaction ends. Any
-- number of recorders hold a day at the same time; the roll-up of that day holds it alone (rollup_lock_day.sql).
-- Without it the two would find each other's rows half-way and deadlock: still exact, but slow. In order, so that
-- nobody waits in a circle.
select pg_catalog.pg_advisory_xact_lock_shared(20031, d.day)
from (select day from unnest($1::integer[]) as u(day) order by day) d
