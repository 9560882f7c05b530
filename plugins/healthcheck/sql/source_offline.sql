-- Says since when a source has been offline, null if it is not.
update healthcheck.sources set offline_since = $2::timestamptz where id = $1::text
