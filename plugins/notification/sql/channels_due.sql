-- In how many seconds the next of the channels of the types $1 may be tried that have something to send: 0 or less if one may now,
-- null if there is none.
select extract(epoch from min(greatest(due_at, leased_until)) - now())::double precision
from notification.channels c
where enabled and type = any($1::text[])
    and (select true from notification.deliveries d where d.channel_id = c.id and d.state = 'pending' limit 1)
