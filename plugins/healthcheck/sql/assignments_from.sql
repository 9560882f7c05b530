-- The assignments that a source, $1, makes, in the order of their key.
select a.system_id, a.configuration_id, c.name, c.type, a.enabled, a.held, a.local,
    array(select s.source_id from healthcheck.assignment_sources s
        where s.system_id = a.system_id and s.configuration_id = a.configuration_id
        order by s.source_id),
    a.due_at, a.created_at, a.thresholds, a.quorum, a.status, a.since, a.managed_by
from healthcheck.assignment_sources f
join healthcheck.assignments a on a.system_id = f.system_id and a.configuration_id = f.configuration_id
join healthcheck.configurations c on c.id = a.configuration_id
where f.source_id = $1::text
order by a.system_id, a.configuration_id
