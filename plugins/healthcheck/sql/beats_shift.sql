-- Gives the targets that report by themselves $1 more seconds: nobody listened to them for so long.
update healthcheck.assignments a
set due_at = a.due_at + make_interval(secs => $1::float8), next_run_at = a.next_run_at + make_interval(secs => $1::float8)
from (
    select a.system_id, a.configuration_id
    from healthcheck.assignments a
    join healthcheck.configurations c on c.id = a.configuration_id
    where c.type = 'heartbeat' and a.enabled and a.local
    order by a.system_id, a.configuration_id
    for no key update of a
) locked
where a.system_id = locked.system_id and a.configuration_id = locked.configuration_id
