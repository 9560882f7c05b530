-- The satellite that holds the token with the hash $1, which nobody else changes until the transaction ends. No row
-- comes back if the token is not valid, also if it was replaced or its satellite deleted while this waited.
select id, name, region, created_at, token_created_at, last_seen_at, offline_since, offline_after_seconds,
       version, started_at, skew_ms, checks, pending_runs, pending_bytes, dropped, managed_by
from satellite.satellites
where token_hash = $1
for no key update
