-- Notes that somebody looks for satellites that are overdue, at most once a second. After more than 5 s without it
-- there is a new time in which nobody did. A repeat changes nothing.
update satellite.watch
set away_from = case when looked_at < now() - interval '5 s' then looked_at else away_from end,
    away_until = case when looked_at < now() - interval '5 s' then now() else away_until end,
    looked_at = now()
where looked_at < now() - interval '1 s'
