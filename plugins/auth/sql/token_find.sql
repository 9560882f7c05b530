-- One token, $1, without its hash.
select id, name, role, created_at, last_used_at, expires_at, revoked_at
from auth.tokens
where id = $1
