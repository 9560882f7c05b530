-- Gives a satellite, $1, a token with the hash $2 in place of the one it has. This waits for what is being recorded for
-- the old token; what comes after it finds no satellite.
update satellite.satellites
set token_hash = $2, token_created_at = clock_timestamp()
where id = $1
returning id, name, region, created_at, token_created_at, last_seen_at, offline_since, offline_after_seconds,
          version, started_at, skew_ms, checks, pending_runs, pending_bytes, dropped, managed_by
