-- Holds the subscriptions of a channel, $1, or, where that is null, of a resource, $3, of a target, $2, in the order of their IDs.
select s.id, s.channel_id, c.name, s.spec, p.target, s.resource, s.min_severity, s.managed_by, s.created_at, s.updated_at
from notification.subscriptions s join notification.channels c on c.id = s.channel_id join notification.specs p on p.type = s.spec
where s.channel_id = $1::uuid or $1::uuid is null and p.target = $2::text and s.resource = $3::text
order by s.id
for update of s
