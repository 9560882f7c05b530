-- Hands notices, $1, on to channels, in the order of the notices; a channel has one once, and a repeat changes nothing. One about
-- something new is for those that subscribed to a spec, $3, for a resource, $4: it is there, $2, with all the pairs that may have been
-- subscribed to. One that something is over is for those that were told of it, that is of anything critical or a warning since it was
-- over before. The channels are held in the order of their IDs, so that none of them is deleted meanwhile.
with fresh as materialized (
    select distinct n.id as notice, s.channel_id as channel
    from unnest($2::bigint[], $3::text[], $4::text[]) as k (notice, spec, resource)
    join notification.notices n on n.id = k.notice and n.handed_at is null and n.severity <> 'recovered'
    join notification.subscriptions s on s.spec = k.spec and s.resource = k.resource
        and array_position(array['info', 'warning', 'critical'], n.severity) >= array_position(array['info', 'warning', 'critical'], s.min_severity)
), trouble as materialized (
    select n.id as notice, p.id as trouble
    from notification.notices n
    cross join lateral (
        select coalesce(max(r.id), 0) as id from notification.notices r
        where r.spec = n.spec and r.target = n.target and r.resource = n.resource and r.thread = n.thread and r.id < n.id
            and r.severity = 'recovered'
    ) before
    join notification.notices p on p.spec = n.spec and p.target = n.target and p.resource = n.resource and p.thread = n.thread
        and p.id > before.id and p.id < n.id and p.severity in ('critical', 'warning')
    where n.id = any($1::bigint[]) and n.handed_at is null and n.severity = 'recovered'
), told as materialized (
    select notice, channel from fresh
    union
    select t.notice, f.channel from trouble t join fresh f on f.notice = t.trouble
    union
    select t.notice, d.channel_id from trouble t join notification.deliveries d on d.notice_id = t.trouble
), held as materialized (
    select id from notification.channels where enabled and id = any(array(select channel from told)) order by id for key share
)
insert into notification.deliveries (notice_id, channel_id)
select t.notice, t.channel
from told t join held h on h.id = t.channel
order by t.notice, t.channel
on conflict (notice_id, channel_id) do nothing
