-- Locks one assignment before it is removed. Returns it with whether its history is kept for a time of its own, and who owns it.
select system_id, configuration_id, own_retention, managed_by
from healthcheck.assignments
where system_id = $1::text and configuration_id = $2::uuid
for update
