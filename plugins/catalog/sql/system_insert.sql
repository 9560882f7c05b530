-- Makes a system, $1 to $5. No row comes back if its name is taken, whatever its case; the transaction lives on.
insert into catalog.systems (id, name, name_key, description, metadata)
values ($1, $2, $3, $4, $5)
on conflict (name_key) do nothing
returning id, name, description, metadata, created_at, updated_at
