-- Writes what checks are taken for as a whole, and since when. The caller holds the assignments.
update healthcheck.assignments a
set status = u.status, since = u.since
from unnest($1::text[], $2::uuid[], $3::text[], $4::timestamptz[]) as u (system_id, configuration_id, status, since)
where a.system_id = u.system_id and a.configuration_id = u.configuration_id
