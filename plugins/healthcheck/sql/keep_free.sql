-- As keep.sql, but passes over assignments that somebody else holds: see busy.sql.
select a.system_id, a.configuration_id, a.local, a.enabled and not a.held, a.thresholds, statement_timestamp()
from healthcheck.assignments a
join unnest($1::text[], $2::uuid[]) as u (system_id, configuration_id)
    on a.system_id = u.system_id and a.configuration_id = u.configuration_id
order by a.system_id, a.configuration_id
for no key update of a skip locked
