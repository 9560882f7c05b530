-- What the checks of the systems $1 are taken for, by system and name.
select a.system_id, a.configuration_id, c.name, a.status, a.since, s.last_run_at, s.latency_ms
from healthcheck.assignments a
join healthcheck.configurations c on c.id = a.configuration_id
left join lateral (
    select max(s.last_run_at) as last_run_at, max(s.latency_ms) as latency_ms
    from healthcheck.states s
    where s.system_id = a.system_id and s.configuration_id = a.configuration_id
) s on true
where a.system_id = any ($1::text[])
order by a.system_id, c.name_key
