-- Makes every assignment of a configuration due now; one that is running is run again as soon as that run has ended. The
-- rows are locked in the order of their key, as everywhere, so that this waits for others and never deadlocks with them.
with locked as (
    select system_id, configuration_id
    from healthcheck.assignments
    where configuration_id = $1::uuid
    order by system_id, configuration_id
    for no key update
)
update healthcheck.assignments a
set next_run_at = now(), due_at = case when a.lease_id is null then now() else a.due_at end
from locked
where a.system_id = locked.system_id and a.configuration_id = locked.configuration_id
