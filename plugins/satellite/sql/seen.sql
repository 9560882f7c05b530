-- Notes that a satellite, $1, has been heard of, so that it is online. To be run under its lock.
update satellite.satellites
set last_seen_at = greatest(last_seen_at, statement_timestamp()), offline_since = null
where id = $1
