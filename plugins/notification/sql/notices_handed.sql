-- Notes that notices, $1, were handed on, and how their resources are called, $2. A repeat changes nothing.
update notification.notices n
set handed_at = now(), resource_name = nullif(u.name, '')
from unnest($1::bigint[], $2::text[]) as u (id, name)
where n.id = u.id and n.handed_at is null
