-- The document with a folded name, $1.
select name, applied_at, changed_at, by_id, by_name, systems, groups, checks, satellites, assignments, channels, subscriptions
from apply.documents
where name_key = $1
