-- Claims up to $1 due assignments whose last run came to an end in time, and up to $2 of those whose last run did not, of
-- the types $4 under the lease $3, the longest due first, and moves each on to the first slot of its rhythm that is still
-- to come: slots that were missed are not made up for. A run that is late may be so close to the next slot that the one after
-- it is made half an interval later instead; so no two runs are closer than half an interval, nor further than a whole one.
-- A check that waits for its target to report has no rhythm, but the time since the last report.
--
-- Only what this server has to make is claimed. Rows that another scheduler is claiming are passed over, so two never
-- claim the same slot. A lease that is not given back ends $6 after the run must have: the assignment is due again
-- then, because nobody knows how the run ended. Returned is also when each was due. $5 is the time, by default the database's. While nobody watched, as in
-- the first moments after an outage of all servers, nothing is held against a target that could not report.
with clock as (
    select coalesce($5::timestamptz, now()) as at, (select seen_at > now() - interval '10 seconds' from healthcheck.watch) as watched
),
fast as (
    select a.system_id, a.configuration_id, c.type, c.version, c.config, c.assertions, c.interval_seconds, c.timeout_ms, a.vars, a.slow,
        a.due_at as was_due
    from healthcheck.assignments a
    join healthcheck.configurations c on c.id = a.configuration_id
    where a.enabled and a.local and not a.held and not a.slow and a.due_at <= (select at from clock) and c.type = any ($4::text[])
        and (c.type <> 'heartbeat' or (select watched from clock))
    order by a.due_at
    limit $1::integer
    for no key update of a skip locked
),
slow as (
    select a.system_id, a.configuration_id, c.type, c.version, c.config, c.assertions, c.interval_seconds, c.timeout_ms, a.vars, a.slow,
        a.due_at as was_due
    from healthcheck.assignments a
    join healthcheck.configurations c on c.id = a.configuration_id
    where a.enabled and a.local and not a.held and a.slow and a.due_at <= (select at from clock) and c.type = any ($4::text[])
    order by a.due_at
    limit $2::integer
    for no key update of a skip locked
),
due as (
    select * from fast union all select * from slow
)
update healthcheck.assignments a
set lease_id = $3::uuid,
    due_at = clock.at + make_interval(secs => due.timeout_ms / 1000.0) + $6::interval,
    next_run_at = case
        when due.type = 'heartbeat' then clock.at + make_interval(secs => due.interval_seconds)
        else greatest(clock.at + make_interval(secs => due.interval_seconds / 2.0), a.slot_at + make_interval(secs => due.interval_seconds
            * (floor(extract(epoch from clock.at - a.slot_at) / due.interval_seconds) + 1)))
        end
from due, clock
where a.system_id = due.system_id and a.configuration_id = due.configuration_id
returning a.system_id, a.configuration_id, due.type, due.version, due.config, due.assertions, due.timeout_ms, due.vars, due.slow, due.was_due
