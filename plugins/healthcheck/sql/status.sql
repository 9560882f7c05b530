-- The enabled checks of a system by name, each with how it went last here, as far as it ran at all.
select a.configuration_id, c.name, coalesce(s.status, 'unknown'), s.since, s.last_run_at, s.latency_ms, coalesce(s.message, '')
from healthcheck.assignments a
join healthcheck.configurations c on c.id = a.configuration_id
left join healthcheck.states s
    on s.system_id = a.system_id and s.configuration_id = a.configuration_id and s.source_id = ''
where a.system_id = $1::text and a.enabled
order by c.name_key
