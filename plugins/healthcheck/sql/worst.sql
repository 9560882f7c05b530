-- The checks that are not healthy and not paused, the worst and then the newest first, up to $1.
select a.system_id, a.configuration_id, c.name, a.status, a.since, s.message, s.last_run_at
from healthcheck.assignments a
join healthcheck.configurations c on c.id = a.configuration_id
left join lateral (
    select message, last_run_at from healthcheck.states s
    where s.system_id = a.system_id and s.configuration_id = a.configuration_id
    order by array_position(array['unhealthy', 'degraded', 'unknown', 'healthy'], s.status), s.last_run_at desc
    limit 1
) s on true
where a.status in ('unhealthy', 'degraded', 'stale', 'unknown')
order by array_position(array['unhealthy', 'degraded', 'stale', 'unknown'], a.status), a.since desc, a.system_id, a.configuration_id
limit $1::integer
