-- One configuration.
select id, name, type, config, interval_seconds, timeout_ms, created_at, updated_at
from healthcheck.configurations
where id = $1::uuid
