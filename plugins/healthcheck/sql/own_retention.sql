-- Notes whether the history of a check is kept for a time of its own, and holds the assignment. No row comes back if
-- there is none.
update healthcheck.assignments set own_retention = $3::boolean
where system_id = $1::text and configuration_id = $2::uuid
returning own_retention
