-- The satellites that a document, $1, manages, by name.
select id, name, region, created_at, token_created_at, last_seen_at, offline_since, offline_after_seconds,
       version, started_at, skew_ms, checks, pending_runs, pending_bytes, dropped, managed_by
from satellite.satellites
where managed_by = $1
order by name_key
