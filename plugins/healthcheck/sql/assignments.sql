-- A page of the checks of a system by name, each with how many there are on all pages.
select count(*) over (), a.system_id, a.configuration_id, c.name, c.type, a.enabled, a.held, a.local,
    array(select s.source_id from healthcheck.assignment_sources s
        where s.system_id = a.system_id and s.configuration_id = a.configuration_id
        order by s.source_id),
    a.due_at, a.created_at, a.thresholds, a.quorum, a.status, a.since, a.managed_by
from healthcheck.assignments a
join healthcheck.configurations c on c.id = a.configuration_id
where a.system_id = $1::text
order by c.name_key
limit $2::integer offset $3::integer
