-- Those of the systems $1 that exist, in the order of their IDs, as they are when nobody changes them any more: they are held
-- against changes until the transaction ends. Any number of transactions can hold them so.
select id, name, description, metadata, managed_by, created_at, updated_at
from catalog.systems
where id = any($1::uuid[])
order by id
for share
