-- The first 200 of the notices that are not handed on yet, of those targets, $1, whose owners run here, and whether anybody
-- may be told of one: who subscribed to anything, or was told of a trouble.
select id, spec, target, resource, severity = 'recovered' or exists (select from notification.subscriptions)
from notification.notices
where handed_at is null and target = any($1::text[])
order by id
limit 200
