-- Notes that a document was applied: its folded name, name, whether anything has changed, who did it, or null, and how many
-- things of each kind it manages. To be run under the lock of turn.sql.
insert into apply.documents as d (name_key, name, by_id, by_name, systems, groups, checks, satellites, assignments, channels, subscriptions)
values ($1, $2, $4, $5, $6, $7, $8, $9, $10, $11, $12)
on conflict (name_key) do update
set applied_at = now(),
    changed_at = case when $3::boolean then now() else d.changed_at end,
    by_id = excluded.by_id, by_name = excluded.by_name,
    systems = excluded.systems, groups = excluded.groups, checks = excluded.checks, satellites = excluded.satellites,
    assignments = excluded.assignments, channels = excluded.channels, subscriptions = excluded.subscriptions
