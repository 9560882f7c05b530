-- A page of the deliveries, the newest first, of one channel, $1, or of all where that is null, and in one state, $2, or in any where
-- that is empty, each with how many there are on all pages, counted as far as 10,000.
select (select count(*) from (select from notification.deliveries
        where ($1::uuid is null or channel_id = $1) and ($2::text = '' or state = $2) limit 10000) counted),
    d.uuid, d.channel_id, c.name, d.notice_id, n.spec, n.target, n.resource, coalesce(n.resource_name, ''), n.severity, n.title,
    d.state, d.attempts, d.error, d.created_at, d.ended_at
from notification.deliveries d
join notification.notices n on n.id = d.notice_id
join notification.channels c on c.id = d.channel_id
where ($1::uuid is null or d.channel_id = $1) and ($2::text = '' or d.state = $2)
order by d.id desc
limit $3 offset $4
