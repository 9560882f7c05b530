-- Tells all servers, once the transaction is committed, that the token of a satellite, $1, is not what it was.
select pg_notify('satellite_changed', $1)
