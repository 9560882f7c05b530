-- Lets the statements of the transaction take as long as they need.
select pg_catalog.set_config('statement_timeout', '0', true)
