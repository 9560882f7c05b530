-- The enabled checks of a system by name, each once for each source that has to make it, this server ('') first, with
-- how it went last there, as far as it ran at all. Whether a source is offline, and whether it has been silent for
-- three intervals, or 15 s, and a timeout, is told of others than this server. Where there is no source, it is null and
-- its name is ''.
select a.configuration_id, c.name, x.source_id, coalesce(x.name, ''), s.status, s.since, s.last_run_at, s.latency_ms,
    coalesce(s.message, ''), coalesce(x.offline, false),
    coalesce(x.source_id <> '' and s.last_run_at
        < now() - make_interval(secs => greatest(3 * c.interval_seconds, 15) + c.timeout_ms / 1000.0), false)
from healthcheck.assignments a
join healthcheck.configurations c on c.id = a.configuration_id
left join lateral (
    select '' as source_id, 'local' as name, false as offline where a.local
    union all
    select r.source_id, o.name, o.offline_since is not null
    from healthcheck.assignment_sources r
    join healthcheck.sources o on o.id = r.source_id
    where r.system_id = a.system_id and r.configuration_id = a.configuration_id
) x on true
left join healthcheck.states s
    on s.system_id = a.system_id and s.configuration_id = a.configuration_id and s.source_id = x.source_id
where a.system_id = $1::text and a.enabled
order by c.name_key, x.source_id
