-- Tells all servers, once the transaction is committed, that what is to be checked has changed.
select pg_notify('healthcheck_changed', '')
