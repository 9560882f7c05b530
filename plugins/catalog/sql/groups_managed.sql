-- The groups that a document, $1, manages, by name.
select id, name, description, metadata, managed_by, created_at, updated_at
from catalog.groups
where managed_by = $1
order by name_key
