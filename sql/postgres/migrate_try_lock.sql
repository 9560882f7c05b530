-- Whether this transaction is the only one that migrates from now on. The key is constant: every version must use the same.
SELECT pg_catalog.pg_try_advisory_xact_lock(4854161925180);
