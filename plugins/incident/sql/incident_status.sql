-- Notes that something was done to an incident, $1, and sets its status if $2 is not empty. Whoever resolves it does so
-- now.
update incident.incidents
set status = coalesce(nullif($2::text, ''), status),
    resolved_at = case when $2::text = 'resolved' then clock_timestamp() else resolved_at end,
    updated_at = clock_timestamp()
where id = $1
