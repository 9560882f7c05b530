-- Removes a configuration, and with it its assignments and their states. Comes after assignments_lock.sql.
delete from healthcheck.configurations where id = $1::uuid
