-- One system, $1.
select id, name, description, metadata, managed_by, created_at, updated_at
from catalog.systems
where id = $1
