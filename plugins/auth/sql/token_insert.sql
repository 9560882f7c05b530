-- Makes a token, $1 to $5: its ID, hash, name, role and expiry.
insert into auth.tokens (id, hash, name, role, expires_at)
values ($1, $2, $3, $4, $5)
returning id, name, role, created_at, last_used_at, expires_at, revoked_at
