-- Locks one assignment before it is removed. Returns it with whether its history is kept for a time of its own, who owns it,
-- and whether people were told that it fails.
select a.system_id, a.configuration_id, a.own_retention, a.managed_by, a.alerted, c.name
from healthcheck.assignments a
join healthcheck.configurations c on c.id = a.configuration_id
where a.system_id = $1::text and a.configuration_id = $2::uuid
for update of a
