-- Releases the locks of lock_exclusive.sql and lock_shared.sql that the session holds.
SELECT pg_catalog.pg_advisory_unlock_all();
