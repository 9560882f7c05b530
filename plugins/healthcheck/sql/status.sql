-- The checks of a system by name, with what each is taken for, each once for each source that has to make it,
-- this server ('') first, with what is known of it there, and the error of ours that is open. Where there is no source, it
-- is null and its name is ''.
select a.configuration_id, c.name, c.type, a.status, a.since, x.source_id, coalesce(x.name, ''), coalesce(x.offline, false), s.status,
    s.last_status, s.since, s.stale_since, s.last_run_at, s.latency_ms, coalesce(s.message, ''), e.message, e.began_at, coalesce(e.runs, 0)
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
left join healthcheck.errors e
    on e.system_id = a.system_id and e.configuration_id = a.configuration_id and e.source_id = x.source_id and e.ended_at is null
where a.system_id = $1::text
order by c.name_key, x.source_id
