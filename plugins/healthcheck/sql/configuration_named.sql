-- The configuration with a name, its case folded, held against changes until the transaction ends.
select id, name, description, type, config, assertions, interval_seconds, timeout_ms, enabled, template, managed_by, version, created_at, updated_at
from healthcheck.configurations
where name_key = $1::text
for no key update
