-- Holds those of the satellites with the folded names $1 that exist, in the order of their IDs, so that nobody else changes
-- or deletes them until the transaction ends.
select id, name, region, created_at, token_created_at, last_seen_at, offline_since, offline_after_seconds,
       version, started_at, skew_ms, checks, pending_runs, pending_bytes, dropped, managed_by
from satellite.satellites
where name_key = any($1::text[])
order by id
for no key update
