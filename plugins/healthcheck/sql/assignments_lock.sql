-- Locks the assignments of a system, or of a configuration, before they are removed, in the order of their key.
select 1
from healthcheck.assignments
where system_id = $1::text or configuration_id = $2::uuid
order by system_id, configuration_id
for update
