-- Adds a configuration. A name that is taken, whatever its case, is a unique violation.
insert into healthcheck.configurations (id, name, name_key, type, config, interval_seconds, timeout_ms)
values ($1::uuid, $2::text, $3::text, $4::text, $5::jsonb, $6::integer, $7::integer)
returning id, name, type, config, interval_seconds, timeout_ms, created_at, updated_at
