-- Makes whoever subscribes to a resource, $2, of a target, $1, and whoever deletes it take turns until their transaction ends.
select pg_advisory_xact_lock(hashtextextended('checkstack notification.subscriptions ' || $1::text || ' ' || $2::text, 0))
