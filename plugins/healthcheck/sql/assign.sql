-- Assigns a configuration to a system, or turns an assignment on or off. Nothing happens to one that is as it should be. One
-- that is new or turned on is due now, or as soon as a run that is still under way has ended.
insert into healthcheck.assignments as a (system_id, configuration_id, enabled)
values ($1::text, $2::uuid, $3::boolean)
on conflict (system_id, configuration_id) do update set
    enabled = excluded.enabled,
    next_run_at = case when excluded.enabled and not a.enabled then now() else a.next_run_at end,
    due_at = case when excluded.enabled and not a.enabled and a.lease_id is null then now() else a.due_at end
returning enabled, next_run_at, created_at
