-- The sources of an assignment beside this server.
select array(
    select source_id from healthcheck.assignment_sources
    where system_id = $1::text and configuration_id = $2::uuid
    order by source_id
)
