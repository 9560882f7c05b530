-- Takes away up to 1,000 of the events that are older than $1 microseconds, or are not among the newest $2, the oldest
-- first, and returns how many. The caller holds the log.
with oldest as materialized (
    select greatest(
        (extract(epoch from now()) * 1000000)::bigint - $1::bigint,
        (select position from signals.events where position is not null order by position desc offset $2::integer limit 1)
    ) as position
), gone as (
    delete from signals.events
    where id in (
        select e.id from signals.events e, oldest o where e.position <= o.position order by e.position limit 1000
    )
    returning position
)
update signals.log set trimmed = g.trimmed
from (select max(position) as trimmed, count(*) as number from gone) g
where g.trimmed is not null
returning g.number
