-- The first events after a position, at most $2, none of which is missing unless more than that are gone already.
select position, name, public, data from signals.events where position > $1 order by position limit $2
