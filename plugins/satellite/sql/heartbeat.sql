-- Notes what a satellite, $1, says of itself in a heartbeat that arrived $2 microseconds ago, and that it is online.
-- Its clock, $3, is compared with the database's as it was then: the start of this statement less that time, which does
-- not grow while this waits for a lock. To be run under the satellite's lock.
update satellite.satellites
set last_seen_at = greatest(last_seen_at, statement_timestamp()),
    offline_since = null,
    skew_ms = round(1000 * extract(epoch from $3::timestamptz - (statement_timestamp() - $2::bigint * interval '1 microsecond'))),
    version = $4, started_at = $5, checks = $6, pending_runs = $7, pending_bytes = $8, dropped = $9
where id = $1
returning statement_timestamp() - $2::bigint * interval '1 microsecond', skew_ms
