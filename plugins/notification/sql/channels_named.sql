-- Those of the channels with the folded names $1 that exist.
select id, name, type, destination, enabled, managed_by, failures, failing_since, error,
    (select count(*) from notification.deliveries d where d.channel_id = c.id and d.state = 'pending'), created_at, updated_at, config
from notification.channels c
where name_key = any($1::text[])
order by id
