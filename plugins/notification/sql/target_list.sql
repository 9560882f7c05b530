-- One page, $1 rows from $2, of all targets ever registered, by type, with their number on all pages.
select count(*) over (), type, name, description, owner
from notification.targets
order by type
limit $1 offset $2
