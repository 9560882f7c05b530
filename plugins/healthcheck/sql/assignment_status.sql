-- What a check is taken for as a whole.
select status, since from healthcheck.assignments where system_id = $1::text and configuration_id = $2::uuid
