-- The hashes of the tokens of those of the satellites $1 that exist.
select id, token_hash from satellite.satellites where id = any($1::uuid[])
