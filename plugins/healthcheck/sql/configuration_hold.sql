-- One configuration, held against every change until the transaction ends.
select id, name, description, type, config, assertions, interval_seconds, timeout_ms, enabled, template, managed_by, version, created_at, updated_at
from healthcheck.configurations
where id = $1::uuid
for no key update
