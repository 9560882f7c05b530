-- Says since when a source has been offline, null if it is not. When it came back is kept.
update healthcheck.sources
set online_since = case when $2::timestamptz is not null then null when offline_since is not null then now() else online_since end,
    offline_since = $2::timestamptz, unsettled = unsettled or (offline_since is null) <> ($2::timestamptz is null)
where id = $1::text
