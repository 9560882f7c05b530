-- A page of the configurations by name, each with how many there are on all pages.
select count(*) over (), id, name, type, config, interval_seconds, timeout_ms, created_at, updated_at
from healthcheck.configurations
order by name_key
limit $1::integer offset $2::integer
