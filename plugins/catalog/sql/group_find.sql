-- One group, $1.
select id, name, description, metadata, managed_by, created_at, updated_at
from catalog.groups
where id = $1
