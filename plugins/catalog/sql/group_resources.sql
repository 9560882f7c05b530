-- One page, $1 rows from $2, of all groups as resources: ID and name, in the order of the list of groups.
select count(*) over (), id, name
from catalog.groups
order by name_key
limit $1 offset $2
