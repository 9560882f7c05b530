-- Locks a source that is to be removed: whoever reports for it, or gives it a check, is done by then or waits.
select id from healthcheck.sources where id = $1::text for update
