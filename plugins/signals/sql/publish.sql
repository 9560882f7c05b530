-- Publishes an event, its name, whether it is public, and its data, in the caller's transaction. All servers hear of it when
-- that is committed, and none if it is not.
with published as (
    insert into signals.events (name, public, data) values ($1, $2, $3)
)
select pg_notify('signals_published', '')
