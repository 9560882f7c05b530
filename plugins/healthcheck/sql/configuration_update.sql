-- Replaces a configuration. No row comes back if it does not exist.
update healthcheck.configurations
set name = $2::text, name_key = $3::text, type = $4::text, config = $5::jsonb, interval_seconds = $6::integer,
    timeout_ms = $7::integer, updated_at = now()
where id = $1::uuid
returning id, name, type, config, interval_seconds, timeout_ms, created_at, updated_at
