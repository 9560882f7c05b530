-- Makes a subscription, $1 to $6. No row comes back if the channel has one to the same already, or if there are as many as there
-- may be, $7; the transaction lives on.
with made as (
    insert into notification.subscriptions (id, channel_id, spec, resource, min_severity, managed_by)
    select $1::uuid, $2::uuid, $3::text, $4::text, $5::text, $6::text
    where (select count(*) from notification.subscriptions) < $7::integer
    on conflict (channel_id, spec, resource) do nothing
    returning *
)
select s.id, s.channel_id, c.name, s.spec, p.target, s.resource, s.min_severity, s.managed_by, s.created_at, s.updated_at
from made s join notification.channels c on c.id = s.channel_id join notification.specs p on p.type = s.spec
