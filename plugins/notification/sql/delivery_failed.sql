-- Notes that the try with the number $2 of a delivery, $1, failed with an error, $3, and lets go of its channel, $4, if that is held
-- until $5: it has failed $6 times in a row, and is tried again in $7 milliseconds, or at once if it was changed since $8.
with tried as (
    update notification.deliveries set attempts = $2, error = $3 where id = $1 and state = 'pending'
)
update notification.channels
set failures = $6, failing_since = coalesce(failing_since, now()), error = $3, leased_until = now(),
    due_at = case when updated_at = $8 then now() + $7 * interval '1 millisecond' else now() end
where id = $4 and leased_until = $5
