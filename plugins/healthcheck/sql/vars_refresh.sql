-- Keeps what placeholders stand for with all assignments of templates to a system, where it has changed. Their runs are due
-- now, but for those that wait for their target to report: what the catalog says of it is no report that is missing.
with locked as (
    select system_id, configuration_id
    from healthcheck.assignments
    where system_id = $1::text and vars is not null and vars <> $2::jsonb
    order by system_id, configuration_id
    for no key update
)
update healthcheck.assignments a
set vars = $2::jsonb, due_at = case when a.lease_id is null and c.type <> 'heartbeat' then now() else a.due_at end
from locked
join healthcheck.configurations c on c.id = locked.configuration_id
where a.system_id = locked.system_id and a.configuration_id = locked.configuration_id
