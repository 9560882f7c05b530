-- Holds a configuration that is to be assigned to a system, and counts the other checks the system has. No row: no such
-- configuration.
select c.name, c.type, (select count(*) from healthcheck.assignments a where a.system_id = $1::text and a.configuration_id <> c.id)
from healthcheck.configurations c
where c.id = $2::uuid
for key share of c
