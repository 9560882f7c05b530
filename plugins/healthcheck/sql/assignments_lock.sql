-- Locks the assignments of a system, or of a configuration, before they are removed, in the order of their key. Returns
-- each with whether its history is kept for a time of its own, and who owns it.
select system_id, configuration_id, own_retention, managed_by
from healthcheck.assignments
where system_id = $1::text or configuration_id = $2::uuid
order by system_id, configuration_id
for update
