-- Gives to people what a document owns: the assignments of one configuration, of one system, of both, or all. The rows are
-- locked in the order of their key.
with locked as (
    select system_id, configuration_id
    from healthcheck.assignments
    where managed_by = $1::text and ($2::uuid is null or configuration_id = $2::uuid) and ($3::text is null or system_id = $3::text)
    order by system_id, configuration_id
    for no key update
)
update healthcheck.assignments a set managed_by = null
from locked
where a.system_id = locked.system_id and a.configuration_id = locked.configuration_id
