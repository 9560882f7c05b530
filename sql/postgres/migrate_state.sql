-- Everything that is there: each applied migration, and each schema as a row without a file.
SELECT plugin, file, checksum FROM checkstack.migrations
UNION ALL
SELECT nspname, '', '' FROM pg_catalog.pg_namespace;
