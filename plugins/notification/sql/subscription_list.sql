-- One page, $2 rows from $3, of the subscriptions of one channel, $1, or of all where that is null, in the order of the channels'
-- names, with their number on all pages.
select count(*) over (), s.id, s.channel_id, c.name, s.spec, p.target, s.resource, s.min_severity, s.managed_by, s.created_at, s.updated_at
from notification.subscriptions s join notification.channels c on c.id = s.channel_id join notification.specs p on p.type = s.spec
where $1::uuid is null or s.channel_id = $1
order by c.name_key, s.spec, s.resource
limit $2 offset $3
