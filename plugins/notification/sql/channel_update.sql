-- Replaces what can be set of a channel, $1 to $8. It may be tried at once: what was wrong with it may be what was changed.
update notification.channels c
set name = $2, name_key = $3, type = $4, config = $5, destination = $6, enabled = $7, managed_by = $8, due_at = now(), updated_at = clock_timestamp()
where id = $1
returning id, name, type, destination, enabled, managed_by, failures, failing_since, error,
    (select count(*) from notification.deliveries d where d.channel_id = c.id and d.state = 'pending'), created_at, updated_at, config
