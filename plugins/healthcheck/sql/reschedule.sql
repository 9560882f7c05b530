-- Has every assignment of a configuration run again: the first now, the others 2 ms after each other, so that thousands do
-- not start together; one that is running is run again as soon as that run has ended. $2 says whether the configuration is
-- paused. The slots are anew where the hash of the key says. A check that waits for its target to report has an interval
-- and its timeout from now. The rows are locked in the order of their key, as everywhere, so that this waits for others and never
-- deadlocks with them. Returns the keys.
with locked as (
    select a.system_id, a.configuration_id, c.type, c.interval_seconds, c.timeout_ms
    from healthcheck.assignments a
    join healthcheck.configurations c on c.id = a.configuration_id
    where a.configuration_id = $1::uuid
    order by a.system_id, a.configuration_id
    for no key update of a
),
numbered as (
    select *, row_number() over (order by system_id) - 1 as n,
        (hashtextextended(system_id || configuration_id::text, 0) & 9007199254740991) % (interval_seconds * 1000::bigint) as phase_ms
    from locked
)
update healthcheck.assignments a
set held = $2::boolean,
    slow = false,
    slot_at = timestamptz '2000-01-01 00:00Z' + make_interval(secs => n.phase_ms / 1000.0),
    next_run_at = case when n.type = 'heartbeat' then now() + make_interval(secs => n.interval_seconds + n.timeout_ms / 1000.0) else now() end,
    due_at = case when a.lease_id is not null then a.due_at
        when n.type = 'heartbeat' then now() + make_interval(secs => n.interval_seconds + n.timeout_ms / 1000.0)
        else now() + n.n * interval '2 milliseconds' end
from numbered n
where a.system_id = n.system_id and a.configuration_id = n.configuration_id
returning a.system_id, a.configuration_id
