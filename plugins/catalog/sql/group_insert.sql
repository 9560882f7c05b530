-- Makes a group, $1 to $6. No row comes back if its name is taken, whatever its case; the transaction lives on.
insert into catalog.groups (id, name, name_key, description, metadata, managed_by)
values ($1, $2, $3, $4, $5, $6)
on conflict (name_key) do nothing
returning id, name, description, metadata, managed_by, created_at, updated_at
