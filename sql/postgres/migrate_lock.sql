-- Waits until this transaction is the only one that migrates. The key is that of migrate_try_lock.sql.
SELECT pg_catalog.pg_advisory_xact_lock(4854161925180);
