-- The satellite that holds the token with the hash $1.
select id from satellite.satellites where token_hash = $1
