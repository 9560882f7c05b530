-- Takes up to $2 channels, of the types $1 that are known here, that have something to send and may be tried, for a minute: no
-- other server sends through them meanwhile.
with due as materialized (
    select id from notification.channels c
    where enabled and due_at <= now() and leased_until <= now() and type = any($1::text[])
        and (select true from notification.deliveries d where d.channel_id = c.id and d.state = 'pending' limit 1)
    order by due_at, id
    limit $2
    for update skip locked
)
update notification.channels c
set leased_until = now() + interval '1 minute'
from due
where c.id = due.id
returning c.id, c.name, c.type, c.config, c.failures, c.leased_until, c.updated_at
