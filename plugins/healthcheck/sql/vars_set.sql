-- Keeps what placeholders stand for, $3, with the assignments of a configuration to the systems $2. The rows are locked in the
-- order of their key.
with locked as (
    select a.system_id, a.configuration_id, u.vars
    from healthcheck.assignments a
    join unnest($2::text[], $3::jsonb[]) as u (system_id, vars) on a.system_id = u.system_id
    where a.configuration_id = $1::uuid
    order by a.system_id, a.configuration_id
    for no key update of a
)
update healthcheck.assignments a
set vars = locked.vars
from locked
where a.system_id = locked.system_id and a.configuration_id = locked.configuration_id
