-- One page, $1 rows from $2, of the channels, by name, with their number on all pages.
select count(*) over (), id, name, type, destination, enabled, managed_by, failures, failing_since, error,
    (select count(*) from notification.deliveries d where d.channel_id = c.id and d.state = 'pending'), created_at, updated_at, config
from notification.channels c
order by name_key
limit $1 offset $2
