-- Writes what checks are taken for as a whole, since when, and whether people are told that something is wrong. The caller
-- holds the assignments.
update healthcheck.assignments a
set status = u.status, since = u.since, alerted = u.alerted
from unnest($1::text[], $2::uuid[], $3::text[], $4::timestamptz[], $5::boolean[]) as u (system_id, configuration_id, status, since, alerted)
where a.system_id = u.system_id and a.configuration_id = u.configuration_id
