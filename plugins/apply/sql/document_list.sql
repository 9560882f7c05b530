-- One page, $1 rows from $2, of the documents that were applied, by name, with their number on all pages.
select count(*) over (), name, applied_at, changed_at, by_id, by_name, systems, groups, checks, satellites, assignments, channels, subscriptions
from apply.documents
order by name_key
limit $1 offset $2
