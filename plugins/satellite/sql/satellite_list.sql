-- One page, $1 rows from $2, of all satellites by name, without the hashes of their tokens, with their number on all
-- pages.
select count(*) over (), id, name, region, created_at, token_created_at, last_seen_at, offline_since, offline_after_seconds,
       version, started_at, skew_ms, checks, pending_runs, pending_bytes, dropped, managed_by
from satellite.satellites
order by name_key
limit $1 offset $2
