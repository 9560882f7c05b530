-- Those of the assignments that exist. Comes after keep_free.sql: what that did not return, and this does, somebody else holds.
select a.system_id, a.configuration_id
from healthcheck.assignments a
join unnest($1::text[], $2::uuid[]) as u (system_id, configuration_id)
    on a.system_id = u.system_id and a.configuration_id = u.configuration_id
