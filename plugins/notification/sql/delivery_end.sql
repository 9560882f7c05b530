-- Ends a delivery, $1, after the try with the number $2: it has the state $3, and maybe an error, $4. The channel, $5, works, and if
-- it is held until $6 it is held for a minute more. What was given up meanwhile has come all the same. A repeat changes nothing, and
-- finds no row.
with ended as (
    update notification.deliveries set state = $3, attempts = $2, error = $4, ended_at = now() where id = $1 and state in ('pending', 'expired')
)
update notification.channels
set failures = 0, failing_since = null, error = null, leased_until = now() + interval '1 minute'
where id = $5 and leased_until = $6
returning leased_until
