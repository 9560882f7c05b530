-- Says since when a source has been offline, null if it is not.
update healthcheck.sources
set offline_since = $2::timestamptz, unsettled = unsettled or (offline_since is null) <> ($2::timestamptz is null)
where id = $1::text
