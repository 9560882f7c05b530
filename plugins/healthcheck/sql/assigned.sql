-- Whether a configuration is assigned to a system.
select exists (select from healthcheck.assignments where system_id = $1::text and configuration_id = $2::uuid)
