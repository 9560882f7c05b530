-- Registers a satellite, $1 to $7: its ID, name, folded name, region, silence in seconds, the hash of its token and who
-- manages it. No row comes back if its name is taken, whatever its case; the transaction lives on.
insert into satellite.satellites (id, name, name_key, region, offline_after_seconds, token_hash, managed_by)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (name_key) do nothing
returning id, name, region, created_at, token_created_at, last_seen_at, offline_since, offline_after_seconds,
          version, started_at, skew_ms, checks, pending_runs, pending_bytes, dropped, managed_by
