-- Gives a check whose target reports by itself the token with the SHA-256 $3. No row is changed if it is another check.
update healthcheck.assignments a
set beat_hash = $3::bytea
from healthcheck.configurations c
where a.system_id = $1::text and a.configuration_id = $2::uuid and c.id = a.configuration_id and c.type = 'heartbeat'
