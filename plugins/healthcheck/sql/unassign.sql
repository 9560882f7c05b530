-- Ends an assignment, and with it its states. Comes after assignment_lock.sql.
delete from healthcheck.assignments where system_id = $1::text and configuration_id = $2::uuid
