-- The channels that a document, $1, manages, by name.
select id, name, type, destination, enabled, managed_by, failures, failing_since, error,
    (select count(*) from notification.deliveries d where d.channel_id = c.id and d.state = 'pending'), created_at, updated_at, config
from notification.channels c
where managed_by = $1
order by name_key
