-- Returns when the windows of availability begin, and sets for the transaction that the next statement is planned for
-- the very systems it is given: one is read by its key, five hundred may be half of the table.
select pg_catalog.date_trunc('hour', now() - interval '24 hours', 'UTC'),
  pg_catalog.date_trunc('hour', now() - interval '168 hours', 'UTC'),
  pg_catalog.date_trunc('day', now() - interval '720 hours', 'UTC'),
  pg_catalog.date_trunc('day', now() - interval '2160 hours', 'UTC'),
  pg_catalog.date_trunc('day', now() - interval '8760 hours', 'UTC'),
  pg_catalog.set_config('plan_cache_mode', 'force_custom_plan', true)
