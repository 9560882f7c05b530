-- Replaces all of a satellite, $1, that an administrator can change, and who manages it. A taken name is error 23505.
update satellite.satellites
set name = $2, name_key = $3, region = $4, offline_after_seconds = $5, managed_by = $6
where id = $1
returning id, name, region, created_at, token_created_at, last_seen_at, offline_since, offline_after_seconds,
          version, started_at, skew_ms, checks, pending_runs, pending_bytes, dropped, managed_by
