-- One page, $1 rows from $2, of all tokens without their hashes, the newest first, with their number on all pages.
select count(*) over (), id, name, role, created_at, last_used_at, expires_at, revoked_at
from auth.tokens
order by created_at desc, id
limit $1 offset $2
