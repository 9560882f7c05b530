-- Those of the systems $1 that exist, in the order of their IDs.
select id, name, description, metadata, managed_by, created_at, updated_at
from catalog.systems
where id = any($1::uuid[])
order by id
