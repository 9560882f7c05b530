-- Takes the turn to watch, unless another server has it, and returns for how many seconds nobody had. The turn ends with
-- the transaction.
with turn as (
    select pg_try_advisory_xact_lock(hashtextextended('healthcheck.watch', 0)) as mine
),
before as (
    select seen_at from healthcheck.watch
)
update healthcheck.watch w
set seen_at = now()
from turn, before
where turn.mine
returning extract(epoch from now() - before.seen_at)::float8
