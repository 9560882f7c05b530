-- Assigns a configuration to a system, or turns an assignment on or off; $4 says whether this server makes the check,
-- null that this stays as it is, and is so at first. Nothing happens to one that is as it should be. One that this
-- server has to make from now on is due now, or as soon as a run that is still under way has ended.
insert into healthcheck.assignments as a (system_id, configuration_id, enabled, local)
values ($1::text, $2::uuid, $3::boolean, coalesce($4::boolean, true))
on conflict (system_id, configuration_id) do update set
    enabled = excluded.enabled,
    local = coalesce($4::boolean, a.local),
    next_run_at = case when excluded.enabled and coalesce($4::boolean, a.local) and not (a.enabled and a.local)
        then now() else a.next_run_at end,
    due_at = case when excluded.enabled and coalesce($4::boolean, a.local) and not (a.enabled and a.local) and a.lease_id is null
        then now() else a.due_at end
returning enabled, local, next_run_at, created_at
