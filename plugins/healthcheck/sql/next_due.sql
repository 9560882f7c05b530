-- How many seconds it is until an assignment of the types $1 is due on this server; null if there is none. Those whose
-- last run took all of its time count only if $2 says so.
select extract(epoch from min(due_at) - now())::float8
from (
    (select a.due_at
    from healthcheck.assignments a
    join healthcheck.configurations c on c.id = a.configuration_id
    where a.enabled and a.local and not a.held and not a.slow and c.type = any ($1::text[])
    order by a.due_at
    limit 1)
    union all
    (select a.due_at
    from healthcheck.assignments a
    join healthcheck.configurations c on c.id = a.configuration_id
    where a.enabled and a.local and not a.held and a.slow and c.type = any ($1::text[]) and $2::boolean
    order by a.due_at
    limit 1)
) next
