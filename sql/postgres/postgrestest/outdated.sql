-- The databases that nobody will miss: templates not used for a day, and test databases that killed tests left behind more
-- than a day ago; their names say when they were made, in seconds since 1970.
SELECT datname FROM pg_catalog.pg_database
WHERE datname ~ '^checkstack_template_[0-9a-f]+$'
      AND COALESCE(pg_catalog.shobj_description(oid, 'pg_database')::timestamptz < now() - interval '1 day', true)
   OR datname ~ '^checkstack_test_[0-9]{10}_[0-9a-f]+$'
      AND to_timestamp(split_part(datname, '_', 3)::bigint) < now() - interval '1 day';
