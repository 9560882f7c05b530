-- Brings the states up to new runs, at most one of each check. A run that is not newer than the one that is known changes
-- nothing, so a batch may come twice or late. since moves only when the status does.
insert into healthcheck.states as s
    (system_id, configuration_id, source_id, status, since, last_run_at, latency_ms, message, run_id)
select u.system_id, u.configuration_id, u.source_id, u.status, u.executed_at, u.executed_at, u.latency_ms, u.message, u.run_id
from unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::integer[], $7::text[], $8::uuid[])
    as u (system_id, configuration_id, source_id, status, executed_at, latency_ms, message, run_id)
order by u.system_id, u.configuration_id, u.source_id
on conflict (system_id, configuration_id, source_id) do update set
    status = excluded.status,
    since = case when s.status = excluded.status then s.since else excluded.since end,
    last_run_at = excluded.last_run_at,
    latency_ms = excluded.latency_ms,
    message = excluded.message,
    run_id = excluded.run_id
where s.last_run_at < excluded.last_run_at
