-- Makes a subscription, $1 to $6. No row comes back if the channel has one to the same already; the transaction lives on.
with made as (
    insert into notification.subscriptions (id, channel_id, spec, resource, min_severity, managed_by)
    values ($1, $2, $3, $4, $5, $6)
    on conflict (channel_id, spec, resource) do nothing
    returning *
)
select s.id, s.channel_id, c.name, s.spec, p.target, s.resource, s.min_severity, s.managed_by, s.created_at, s.updated_at
from made s join notification.channels c on c.id = s.channel_id join notification.specs p on p.type = s.spec
