-- Holds those of the groups with the folded names $1 that exist, in the order of their IDs, so that nobody else changes or
-- deletes them until the transaction ends.
select id, name, description, metadata, managed_by, created_at, updated_at
from catalog.groups
where name_key = any($1::text[])
order by id
for no key update
