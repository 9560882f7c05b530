-- One satellite, $1, which nobody else changes until the transaction ends. No row comes back if there is none, also if
-- it was deleted while this waited.
select id, name, region, created_at, token_created_at, last_seen_at, offline_since, offline_after_seconds,
       version, started_at, skew_ms, checks, pending_runs, pending_bytes, dropped, managed_by
from satellite.satellites
where id = $1
for no key update
