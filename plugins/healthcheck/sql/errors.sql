-- A page of the errors of ours of a system's checks, the newest first, each with how many there are on all pages.
select count(*) over (), configuration_id, source_id, message, began_at, last_at, ended_at, runs
from healthcheck.errors
where system_id = $1::text
order by began_at desc, configuration_id, source_id
limit $2::integer offset $3::integer
