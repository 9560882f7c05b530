-- Writes what is remembered of slices after new runs, at most one row a slice. The caller holds their assignments, so
-- nothing has changed since it read them.
insert into healthcheck.states as s (system_id, configuration_id, source_id, status, since, last_run_at, last_status, latency_ms,
    message, run_id, seen, failed, down)
select *
from unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::text[], $8::integer[], $9::text[],
    $10::uuid[], $11::smallint[], $12::bigint[], $13::bigint[])
    as u (system_id, configuration_id, source_id, status, since, last_run_at, last_status, latency_ms, message, run_id, seen, failed, down)
order by system_id, configuration_id, source_id
on conflict (system_id, configuration_id, source_id) do update set
    status = excluded.status,
    since = excluded.since,
    last_run_at = excluded.last_run_at,
    last_status = excluded.last_status,
    latency_ms = excluded.latency_ms,
    message = excluded.message,
    run_id = excluded.run_id,
    seen = excluded.seen,
    failed = excluded.failed,
    down = excluded.down,
    stale_since = null
