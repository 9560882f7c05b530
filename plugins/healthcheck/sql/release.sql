-- Gives leases back. The next slot is due, or, where the run is still to be made, the assignment is after so many seconds. A
-- lease that ran out and is another's by now is left alone. Whether the run took all of its time is kept, if there was one.
update healthcheck.assignments a
set lease_id = null,
    slow = coalesce(u.slow, a.slow),
    due_at = case when u.again is null then a.next_run_at else now() + make_interval(secs => u.again) end
from unnest($1::text[], $2::uuid[], $3::uuid[], $4::float8[], $5::boolean[]) as u (system_id, configuration_id, lease_id, again, slow)
where a.system_id = u.system_id and a.configuration_id = u.configuration_id and a.lease_id = u.lease_id
