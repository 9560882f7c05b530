-- The checks $1, $2 as a whole, in the order of their key, each once for every source that has to make it, this server ('')
-- first, or once with null where there is none: what it is taken for, whether it is on, how many sources must agree, and
-- what is known at each source. The caller holds the assignments. Where "offset 0" ends a subquery, it is asked once for each
-- key, by its index: without statistics, as while there are new checks, the planner would go through all of them for each.
select a.system_id, a.configuration_id, a.status, a.since, a.enabled and not a.held, a.quorum, x.source_id, coalesce(x.offline, false),
    coalesce(s.status, 'unknown'), s.since, s.stale_since is not null, s.stale_since, c.name
from (select distinct system_id, configuration_id from unnest($1::text[], $2::uuid[]) as u (system_id, configuration_id)) u
cross join lateral (
    select * from healthcheck.assignments a
    where a.system_id = u.system_id and a.configuration_id = u.configuration_id
    offset 0) a
cross join lateral (select c.name from healthcheck.configurations c where c.id = a.configuration_id offset 0) c
left join lateral (
    select '' as source_id, false as offline where a.local
    union all
    (select r.source_id, o.offline_since is not null
    from healthcheck.assignment_sources r
    join healthcheck.sources o on o.id = r.source_id
    where r.system_id = a.system_id and r.configuration_id = a.configuration_id
    offset 0)
) x on true
left join lateral (
    select s.status, s.since, s.stale_since from healthcheck.states s
    where s.system_id = a.system_id and s.configuration_id = a.configuration_id and s.source_id = x.source_id
    offset 0) s on true
order by a.system_id, a.configuration_id, x.source_id
