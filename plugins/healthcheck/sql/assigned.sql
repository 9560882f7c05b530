-- Whether this server makes a check. No row: it is not assigned.
select local, vars from healthcheck.assignments where system_id = $1::text and configuration_id = $2::uuid
