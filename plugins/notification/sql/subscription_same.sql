-- The subscription of a channel, $1, to a spec, $2, for a resource, $3, which nobody else changes until the transaction ends.
select s.id, s.channel_id, c.name, s.spec, p.target, s.resource, s.min_severity, s.managed_by, s.created_at, s.updated_at
from notification.subscriptions s join notification.channels c on c.id = s.channel_id join notification.specs p on p.type = s.spec
where s.channel_id = $1 and s.spec = $2 and s.resource = $3
for update of s
