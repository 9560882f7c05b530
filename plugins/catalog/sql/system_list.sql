-- One page, $2 rows from $3, of the systems whose name contains $1, whose case is folded, by name, with their number on
-- all pages. An empty $1 is contained in every name.
select count(*) over (), id, name, description, metadata, managed_by, created_at, updated_at
from catalog.systems
where strpos(name_key, $1) > 0
order by name_key
limit $2 offset $3
