-- Gives up to 1,000 events without a position the next ones, in the order in which they were published. The caller holds
-- the log, since before this statement began. The clock is read once: read for every event, it would mix them up.
with base as materialized (
    select greatest(newest, (extract(epoch from clock_timestamp()) * 1000000)::bigint) as position from signals.log
), waiting as (
    select id, row_number() over (order by id) as number
    from (select id from signals.events where position is null order by id limit 1000) first
), placed as (
    update signals.events e
    set position = b.position + w.number
    from waiting w, base b
    where e.id = w.id
    returning e.position
)
update signals.log set newest = p.newest
from (select max(position) as newest from placed) p
where p.newest is not null
