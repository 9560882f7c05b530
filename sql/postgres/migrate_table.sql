-- The table of applied migrations exists after this. It runs under the lock, and asks before it makes the schema, since
-- CREATE SCHEMA IF NOT EXISTS needs a privilege that whoever runs an installed server may lack. From here on no wait for a
-- table's lock is longer than five seconds.
SET LOCAL lock_timeout = '5s';
DO $$
BEGIN
    IF to_regnamespace('checkstack') IS NULL THEN
        CREATE SCHEMA checkstack;
    END IF;
    IF to_regclass('checkstack.migrations') IS NULL THEN
        CREATE TABLE checkstack.migrations (
            plugin     text        NOT NULL, -- the ID, which is the schema's name
            file       text        NOT NULL,
            checksum   text        NOT NULL, -- SHA-256 of the file, in hexadecimal digits
            applied_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (plugin, file)
        );
    END IF;
END
$$;
