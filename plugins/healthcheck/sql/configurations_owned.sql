-- The configurations that a document owns, by name.
select id, name, description, type, config, assertions, interval_seconds, timeout_ms, enabled, template, managed_by, version, created_at, updated_at
from healthcheck.configurations
where managed_by = $1::text
order by name_key
