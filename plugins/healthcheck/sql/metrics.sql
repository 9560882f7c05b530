-- The checks of all systems, in the order of the systems' IDs, up to $1 rows: each once for each source that has to make it, with what
-- that last measured, and whether it cannot make the check because of Checkstack. Where there is no source, its name is
-- null; a satellite that is called as this server is has its ID for a name.
select a.system_id, c.name, c.type, a.status, a.configuration_id, a.since, x.name,
    case when not x.offline and s.stale_since is null then s.latency_ms end, s.last_run_at, e.began_at is not null
from healthcheck.assignments a
join healthcheck.configurations c on c.id = a.configuration_id
left join lateral (
    select '' as source_id, 'local' as name, false as offline where a.local
    union all
    select r.source_id, case o.name when 'local' then o.id else o.name end, o.offline_since is not null
    from healthcheck.assignment_sources r
    join healthcheck.sources o on o.id = r.source_id
    where r.system_id = a.system_id and r.configuration_id = a.configuration_id
) x on true
left join healthcheck.states s
    on s.system_id = a.system_id and s.configuration_id = a.configuration_id and s.source_id = x.source_id
left join healthcheck.errors e
    on e.system_id = a.system_id and e.configuration_id = a.configuration_id and e.source_id = x.source_id and e.ended_at is null
order by a.system_id, a.configuration_id, x.source_id
limit $1
