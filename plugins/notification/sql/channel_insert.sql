-- Makes a channel, $1 to $8. No row comes back if its name is taken, whatever its case; the transaction lives on.
insert into notification.channels (id, name, name_key, type, config, destination, enabled, managed_by)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (name_key) do nothing
returning id, name, type, destination, enabled, managed_by, failures, failing_since, error, 0, created_at, updated_at, config
