-- Replaces a configuration. No row comes back if it does not exist.
update healthcheck.configurations
set name = $2::text, name_key = $3::text, description = $4::text, type = $5::text, config = $6::jsonb, assertions = $7::jsonb,
    interval_seconds = $8::integer, timeout_ms = $9::integer, enabled = $10::boolean, template = $11::boolean, managed_by = $12::text,
    version = version + 1, updated_at = now()
where id = $1::uuid
returning id, name, description, type, config, assertions, interval_seconds, timeout_ms, enabled, template, managed_by, version, created_at,
    updated_at
