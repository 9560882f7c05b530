-- Notes that a token, $1, was used, unless another request or server did so within a minute. A repeat changes nothing.
update auth.tokens
set last_used_at = now()
where id = $1 and (last_used_at is null or last_used_at < now() - interval '1 minute')
