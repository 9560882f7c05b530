-- Ends an assignment, and with it its state.
delete from healthcheck.assignments where system_id = $1::text and configuration_id = $2::uuid
