-- Who holds the token with the hash $1, if it is valid at this moment, and whether its last use was noted more than a
-- minute ago.
select id, name, role, last_used_at is null or last_used_at < now() - interval '1 minute'
from auth.tokens
where hash = $1 and revoked_at is null and (expires_at is null or expires_at > now())
