-- Assigns a configuration to a system, or changes an assignment. $3 says whether it is on, $4 whether this server makes the
-- check, $5 and $6 are the thresholds and the quorum: each null stays as it is, and is at first on, here, $11, and any
-- source. $7 is what placeholders stand for, $8 the owner, $9 that the configuration is paused, $10 how many milliseconds
-- later than now the first run is due.
--
-- Nothing happens to the timetable of one that is as it should be. One that this server has to make from now on is due
-- then, or as soon as a run that is still under way has ended, and from there on in the slots that the hash of its key says;
-- a check that waits for its target to report has an interval. Returns also whether it was there, was on, and who owned it,
-- and whether the row is new: it is not where somebody else has made it since this statement began.
with known as (
    select a.enabled, a.managed_by from healthcheck.assignments a
    where a.system_id = $1::text and a.configuration_id = $2::uuid
    for no key update
),
timing as (
    select c.type = 'heartbeat' as passive, c.interval_seconds, c.timeout_ms,
        timestamptz '2000-01-01 00:00Z' + make_interval(secs =>
            ((hashtextextended($1::text || $2::uuid::text, 0) & 9007199254740991) % (c.interval_seconds * 1000::bigint)) / 1000.0) as slot
    from healthcheck.configurations c where c.id = $2::uuid
),
begins as (
    select slot, case when passive then now() + make_interval(secs => interval_seconds + timeout_ms / 1000.0) else now() end as next,
        case when passive then now() + make_interval(secs => interval_seconds + timeout_ms / 1000.0)
            else now() + $10::integer * interval '1 millisecond' end as due
    from timing
)
insert into healthcheck.assignments as a (system_id, configuration_id, enabled, local, thresholds, quorum, vars, managed_by, held, slot_at,
    next_run_at, due_at)
select $1::text, $2::uuid, coalesce($3::boolean, true), coalesce($4::boolean, true), coalesce($5::jsonb, $11::jsonb), nullif($6::smallint, 1), $7::jsonb, $8::text, $9::boolean, begins.slot, begins.next, begins.due
from begins
left join known on true -- so that it is read before the row is written
on conflict (system_id, configuration_id) do update set
    enabled = coalesce($3::boolean, a.enabled),
    local = coalesce($4::boolean, a.local),
    thresholds = coalesce($5::jsonb, a.thresholds),
    quorum = case when $6::smallint is null then a.quorum else nullif($6::smallint, 1) end,
    vars = excluded.vars,
    managed_by = excluded.managed_by,
    held = excluded.held,
    slot_at = excluded.slot_at,
    next_run_at = case when coalesce($3::boolean, a.enabled) and coalesce($4::boolean, a.local) and not (a.enabled and a.local)
        then excluded.next_run_at else a.next_run_at end,
    due_at = case when coalesce($3::boolean, a.enabled) and coalesce($4::boolean, a.local) and not (a.enabled and a.local) and a.lease_id is null
        then excluded.due_at else a.due_at end
returning enabled, local, due_at, created_at, status, since, thresholds, quorum,
    exists (select from known), coalesce((select enabled from known), false), (select managed_by from known), a.xmax = 0
