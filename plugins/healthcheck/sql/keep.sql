-- Locks the assignments that runs belong to, in the order of their key, and returns those that still exist, each with
-- whether it is this server that makes the check.
select a.system_id, a.configuration_id, a.local
from healthcheck.assignments a
join unnest($1::text[], $2::uuid[]) as u (system_id, configuration_id)
    on a.system_id = u.system_id and a.configuration_id = u.configuration_id
order by a.system_id, a.configuration_id
for no key update of a
