-- Notes of up to $1 slices that there has been no result for three intervals, or 15 s, and a timeout, and returns them, in the
-- order of their key. What is paused, and what a source that is offline makes, has none to give. A configuration that was
-- changed, and a source that is back, have as much time from then on.
with silent as materialized (
    select a.system_id, a.configuration_id, s.source_id, s.status, s.last_run_at
    from healthcheck.states s
    join healthcheck.assignments a on a.system_id = s.system_id and a.configuration_id = s.configuration_id
    join healthcheck.configurations c on c.id = a.configuration_id
    left join healthcheck.sources o on o.id = s.source_id
    where s.stale_since is null and s.last_run_at < now() - interval '15 seconds' and a.enabled and not a.held and o.offline_since is null
        and greatest(s.last_run_at, c.updated_at, o.online_since) < now() - make_interval(secs => greatest(3 * c.interval_seconds, 15) + c.timeout_ms / 1000.0)
    order by a.system_id, a.configuration_id, s.source_id
    limit $1::integer
    for no key update of a skip locked -- who holds one may be about to store its result
)
update healthcheck.states s
set stale_since = now()
from silent
where s.system_id = silent.system_id and s.configuration_id = silent.configuration_id and s.source_id = silent.source_id
    and s.last_run_at = silent.last_run_at -- none came while this waited for the lock
returning s.system_id, s.configuration_id, s.source_id, silent.status
