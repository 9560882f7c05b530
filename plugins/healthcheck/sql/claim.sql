-- Claims up to $1 due assignments of the types $3 under the lease $2, the longest due first, and moves each on to the
-- first slot of its rhythm that is still to come: slots that were missed are not made up for. Only what this server has
-- to make is claimed. Rows that another scheduler is claiming are passed over, so two never claim the same slot. A
-- lease that is not given back ends 10 s after the run must have: the assignment is due again then, because nobody
-- knows how the run ended. $4 is the time, by default the database's.
with clock as (
    select coalesce($4::timestamptz, now()) as at
),
due as (
    select a.system_id, a.configuration_id, c.type, c.config, c.interval_seconds, c.timeout_ms
    from healthcheck.assignments a
    join healthcheck.configurations c on c.id = a.configuration_id
    where a.enabled and a.local and a.due_at <= (select at from clock) and c.type = any ($3::text[])
    order by a.due_at
    limit $1::integer
    for no key update of a skip locked
)
update healthcheck.assignments a
set lease_id = $2::uuid,
        due_at = clock.at + make_interval(secs => due.timeout_ms / 1000.0 + 10),
        next_run_at = a.next_run_at + make_interval(secs => due.interval_seconds
            * (floor(extract(epoch from clock.at - a.next_run_at) / due.interval_seconds) + 1))
from due, clock
where a.system_id = due.system_id and a.configuration_id = due.configuration_id
returning a.system_id, a.configuration_id, due.type, due.config, due.timeout_ms
