-- Changes of statuses of a system's checks, the newest first, older than $3 if that is not 0: of one check, $2, if it is not
-- null, and of sources too, if $4.
select id, system_id, configuration_id, source_id, from_status, to_status, at, cause, run_id
from healthcheck.transitions
where system_id = $1::text and ($2::uuid is null or configuration_id = $2::uuid) and ($3::bigint = 0 or id < $3::bigint)
    and ($4::boolean or source_id is null)
order by id desc
limit $5::integer
