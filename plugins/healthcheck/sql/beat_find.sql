-- The check of a token by its SHA-256, if it is on.
select a.system_id, a.configuration_id
from healthcheck.assignments a
join healthcheck.configurations c on c.id = a.configuration_id
where a.beat_hash = $1::bytea and a.enabled and a.local and not a.held and c.type = 'heartbeat'
