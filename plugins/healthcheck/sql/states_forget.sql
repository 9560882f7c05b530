-- Forgets what was seen of checks that are turned on again: nobody has looked since.
delete from healthcheck.states s
using unnest($1::text[], $2::uuid[]) as u (system_id, configuration_id)
where s.system_id = u.system_id and s.configuration_id = u.configuration_id
