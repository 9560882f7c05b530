-- Replaces all of a group, $1, that can be changed. No row comes back if there is none; a taken name is error 23505.
update catalog.groups
set name = $2, name_key = $3, description = $4, metadata = $5, updated_at = clock_timestamp()
where id = $1
returning id, name, description, metadata, created_at, updated_at
