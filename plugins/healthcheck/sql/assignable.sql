-- Holds a configuration that is to be assigned to a system, and counts the other checks the system has. No row: no such
-- configuration. It cannot be changed meanwhile, so that what is kept of it with the assignment stays true.
select c.id, c.name, c.description, c.type, c.config, c.assertions, c.interval_seconds, c.timeout_ms, c.enabled, c.template, c.managed_by,
    c.version, c.created_at, c.updated_at,
    (select count(*) from healthcheck.assignments a where a.system_id = $1::text and a.configuration_id <> c.id)
from healthcheck.configurations c
where c.id = $2::uuid
for share of c
