-- Brings the states up to new runs, of which there may be many of each check and source. The newest counts. One that is
-- not newer than the one that is known changes nothing, so a batch may come twice or late. since moves only when the
-- status does: of what is newer than the state, back from the newest run, to the first of those that ended as it did,
-- or further back if all of them did and the state is so already. A run that is ahead of the clock counts as of now, so
-- that a fast clock does not hide what comes after it. The assignments are locked by the caller, so that the
-- states do not change meanwhile.
with newer as (
    select u.*, s.status as old_status, s.since as old_since,
        row_number() over slice as n, first_value(u.status) over slice as new_status
    from (
        select *, least(executed_at, statement_timestamp()) as at
        from unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::integer[], $7::text[], $8::uuid[])
            as r (system_id, configuration_id, source_id, status, executed_at, latency_ms, message, run_id)
    ) u
    left join healthcheck.states s
        on s.system_id = u.system_id and s.configuration_id = u.configuration_id and s.source_id = u.source_id
    where s.run_id is null or s.last_run_at < u.at
    window slice as (partition by u.system_id, u.configuration_id, u.source_id order by u.executed_at desc, u.run_id desc)
),
marked as (
    select *, min(n) filter (where status <> new_status) over slice as other
    from newer
    window slice as (partition by system_id, configuration_id, source_id)
),
begun as (
    select system_id, configuration_id, source_id, min(at) as since
    from marked
    where n < coalesce(other, n + 1)
    group by system_id, configuration_id, source_id
)
insert into healthcheck.states as s
    (system_id, configuration_id, source_id, status, since, last_run_at, latency_ms, message, run_id)
select m.system_id, m.configuration_id, m.source_id, m.status,
    case when m.other is null and m.old_status = m.status then m.old_since else b.since end,
    m.at, m.latency_ms, m.message, m.run_id
from marked m
join begun b on b.system_id = m.system_id and b.configuration_id = m.configuration_id and b.source_id = m.source_id
where m.n = 1
order by m.system_id, m.configuration_id, m.source_id
on conflict (system_id, configuration_id, source_id) do update set
    status = excluded.status,
    since = excluded.since,
    last_run_at = excluded.last_run_at,
    latency_ms = excluded.latency_ms,
    message = excluded.message,
    run_id = excluded.run_id
where s.last_run_at < excluded.last_run_at
