-- Forgets what was seen of checks that are turned on again, and ends their errors: nobody has looked since.
with ended as (
    update healthcheck.errors e
    set ended_at = greatest(now(), e.last_at)
    from unnest($1::text[], $2::uuid[]) as u (system_id, configuration_id)
    where e.system_id = u.system_id and e.configuration_id = u.configuration_id and e.ended_at is null
)
delete from healthcheck.states s
using unnest($1::text[], $2::uuid[]) as u (system_id, configuration_id)
where s.system_id = u.system_id and s.configuration_id = u.configuration_id
