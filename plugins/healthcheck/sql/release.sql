-- Gives leases back. The next slot is due, or, where the run was cut short, the assignment is at once. A lease that ran out
-- and is another's by now is left alone.
update healthcheck.assignments a
set lease_id = null, due_at = case when u.cut_short then now() else a.next_run_at end
from unnest($1::text[], $2::uuid[], $3::uuid[], $4::boolean[]) as u (system_id, configuration_id, lease_id, cut_short)
where a.system_id = u.system_id and a.configuration_id = u.configuration_id and a.lease_id = u.lease_id
