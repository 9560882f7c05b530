-- Adds a configuration. A name that is taken, whatever its case, is a unique violation.
insert into healthcheck.configurations (id, name, name_key, description, type, config, assertions, interval_seconds, timeout_ms, enabled,
    template, managed_by)
values ($1::uuid, $2::text, $3::text, $4::text, $5::text, $6::jsonb, $7::jsonb, $8::integer, $9::integer, $10::boolean, $11::boolean, $12::text)
returning id, name, description, type, config, assertions, interval_seconds, timeout_ms, enabled, template, managed_by, version, created_at,
    updated_at
