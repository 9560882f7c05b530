-- A page of the checks of a system by name, each with how many there are on all pages.
select count(*) over (), a.system_id, a.configuration_id, c.name, c.type, a.enabled, a.next_run_at, a.created_at
from healthcheck.assignments a
join healthcheck.configurations c on c.id = a.configuration_id
where a.system_id = $1::text
order by c.name_key
limit $2::integer offset $3::integer
