-- Removes the assignments of a system, and their states. Comes after assignments_lock.sql.
delete from healthcheck.assignments where system_id = $1::text
