-- The next delivery of a channel, $1, as long as it is held until $2, is not changed since $3 and sends anything.
select d.id, d.uuid, d.attempts, n.spec, n.severity, n.title, n.message, n.target, n.resource, coalesce(n.resource_name, ''), n.data, n.created_at
from notification.channels c
join notification.deliveries d on d.channel_id = c.id and d.state = 'pending'
join notification.notices n on n.id = d.notice_id
where c.id = $1 and c.leased_until = $2 and c.updated_at = $3 and c.enabled
order by d.id
limit 1
