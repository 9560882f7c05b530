-- The channel with the ID $1, which nobody else changes or deletes until the transaction ends. It can be subscribed meanwhile.
select id, name, type, destination, enabled, managed_by, failures, failing_since, error,
    (select count(*) from notification.deliveries d where d.channel_id = c.id and d.state = 'pending'), created_at, updated_at, config
from notification.channels c
where id = $1
for no key update
