-- The rest of the transaction gives up by itself, before the run does, and says for what: $1 ms for a statement, $2 ms for a
-- lock. Settings in the startup packet would do so too, but a pooler refuses those.
select pg_catalog.current_setting('server_version'),
       pg_catalog.set_config('statement_timeout', $1, true),
       pg_catalog.set_config('lock_timeout', $2, true)
