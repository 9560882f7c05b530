-- Holds those of the channels with the folded names $1 that exist, in the order of their IDs, so that nobody else changes or
-- deletes them until the transaction ends.
select id, name, type, destination, enabled, managed_by, failures, failing_since, error,
    (select count(*) from notification.deliveries d where d.channel_id = c.id and d.state = 'pending'), created_at, updated_at, config
from notification.channels c
where name_key = any($1::text[])
order by id
for no key update
