-- The assignments of a configuration, $1, or null, and of a system, $2, or null, in the order of their key.
select a.system_id, a.configuration_id, c.name, c.type, a.enabled, a.held, a.local,
    array(select s.source_id from healthcheck.assignment_sources s
        where s.system_id = a.system_id and s.configuration_id = a.configuration_id
        order by s.source_id),
    a.due_at, a.created_at, a.thresholds, a.quorum, a.status, a.since, a.managed_by
from healthcheck.assignments a
join healthcheck.configurations c on c.id = a.configuration_id
where a.configuration_id = $1::uuid or a.system_id = $2::text
order by a.system_id, a.configuration_id
