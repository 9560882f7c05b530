-- Says whether it is this transaction's turn to work on the history: one server at a time. And lets it take the time
-- and the memory it needs to move a part of a day at once, planned for that part; to compile the plan costs more than it
-- saves here. A lock that nobody gives up within a minute ends it: the next roll-up tries again.
select pg_catalog.pg_try_advisory_xact_lock(20030, 0)
from (select
  pg_catalog.set_config('statement_timeout', '0', true),
  pg_catalog.set_config('lock_timeout', '60s', true),
  pg_catalog.set_config('work_mem', '64MB', true),
  pg_catalog.set_config('jit', 'off', true),
  pg_catalog.set_config('plan_cache_mode', 'force_custom_plan', true)) as settings
