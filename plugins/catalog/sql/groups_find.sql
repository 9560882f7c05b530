-- The groups with the IDs $1, in the order of the IDs. One that no group has is left out.
select id, name, description, metadata, managed_by, created_at, updated_at
from catalog.groups
where id = any($1::uuid[])
order by id
