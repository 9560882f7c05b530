-- Whether the template $1 exists, and whether it was used within the last hour.
SELECT true, COALESCE(pg_catalog.shobj_description(oid, 'pg_database')::timestamptz > now() - interval '1 hour', false)
FROM pg_catalog.pg_database WHERE datname = $1;
