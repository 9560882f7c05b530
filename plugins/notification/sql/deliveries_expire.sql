-- Gives up to 10,000 deliveries up that could not be made for a day. Those that another server does so with are left to it.
with old as materialized (
    select id from notification.deliveries
    where state = 'pending' and created_at < now() - interval '1 day'
    order by id
    limit 10000
    for update skip locked
)
update notification.deliveries d
set state = 'expired', ended_at = now()
from old
where d.id = old.id
