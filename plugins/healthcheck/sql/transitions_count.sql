-- How many transitions there are of checks that are about to be removed.
select count(*)
from healthcheck.transitions t
join unnest($1::text[], $2::uuid[]) as u (system_id, configuration_id)
    on t.system_id = u.system_id and t.configuration_id = u.configuration_id
