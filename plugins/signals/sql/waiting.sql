-- Counts the events without a position, up to $1. Those that this sees with one were committed with it, so that whatever
-- reads after this reads them.
select count(*) from (select from signals.events where position is null limit $1) waiting
