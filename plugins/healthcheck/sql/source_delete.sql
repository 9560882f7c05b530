-- Removes a source, and with it its place in assignments and its states. Comes after source_assignments_lock.sql.
delete from healthcheck.sources where id = $1::text
