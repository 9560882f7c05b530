-- The subscriptions that a document, $1, manages, in the order of the channels' names.
select s.id, s.channel_id, c.name, s.spec, p.target, s.resource, s.min_severity, s.managed_by, s.created_at, s.updated_at
from notification.subscriptions s join notification.channels c on c.id = s.channel_id join notification.specs p on p.type = s.spec
where s.managed_by = $1
order by c.name_key, s.spec, s.resource
