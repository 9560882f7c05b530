-- A page of the configurations by name, each with how many there are on all pages: all, those of the type $1 if it is not
-- empty, those whose name contains $2, its case folded, and those that are templates or not, if $3 is not null.
select count(*) over (), id, name, description, type, config, assertions, interval_seconds, timeout_ms, enabled, template, managed_by, version,
    created_at, updated_at
from healthcheck.configurations
where ($1::text = '' or type = $1::text) and position($2::text in name_key) > 0 and ($3::boolean is null or template = $3::boolean)
order by name_key
limit $4::integer offset $5::integer
