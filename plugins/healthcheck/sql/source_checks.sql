-- The checks that a source has to make and that are on, in the order of their key. They are found before their configurations
-- are: joined all at once, the planner may go through every assignment of a configuration for each of them.
with enabled as materialized (
    select a.system_id, a.configuration_id, a.vars
    from healthcheck.assignment_sources s
    join healthcheck.assignments a on a.system_id = s.system_id and a.configuration_id = s.configuration_id
    where s.source_id = $1::text and a.enabled and not a.held
)
select e.system_id, e.configuration_id, c.name, c.type, c.config, c.assertions, e.vars, c.interval_seconds, c.timeout_ms
from enabled e
join healthcheck.configurations c on c.id = e.configuration_id
order by e.system_id, e.configuration_id
