-- Revokes a token, $1, that is not revoked yet, but an admin's only while another admin has a token that never expires.
-- To be run under the lock of token_lock.sql, so that two cannot each rely on the other.
update auth.tokens t
set revoked_at = now()
where t.id = $1
  and t.revoked_at is null
  and (t.role <> 'admin'
       or exists (select from auth.tokens o
                  where o.id <> t.id and o.role = 'admin' and o.revoked_at is null and o.expires_at is null))
