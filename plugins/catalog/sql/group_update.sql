-- Replaces all of a group, $1, that can be changed, and who manages it. No row comes back if there is none; a taken name is error 23505.
update catalog.groups
set name = $2, name_key = $3, description = $4, metadata = $5, managed_by = $6, updated_at = clock_timestamp()
where id = $1
returning id, name, description, metadata, managed_by, created_at, updated_at
