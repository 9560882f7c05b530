-- One satellite, $1, without the hash of its token.
select id, name, region, created_at, token_created_at, last_seen_at, offline_since, offline_after_seconds,
       version, started_at, skew_ms, checks, pending_runs, pending_bytes, dropped, managed_by
from satellite.satellites
where id = $1
