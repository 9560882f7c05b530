-- Waits until nobody clones a template or makes one, and keeps them from it until the session releases the lock or ends.
-- However long that takes.
SET statement_timeout = 0;
SELECT pg_catalog.pg_advisory_lock(4854161925181);
