-- One page, $1 rows from $2, of all specs ever registered, by type, with their number on all pages.
select count(*) over (), type, target, name, description, owner
from notification.specs
order by type
limit $1 offset $2
