-- Locks the assignments that a source has, in the order of their key. Comes after source_lock_delete.sql.
select 1
from healthcheck.assignments a
join healthcheck.assignment_sources s on s.system_id = a.system_id and s.configuration_id = a.configuration_id
where s.source_id = $1::text
order by a.system_id, a.configuration_id
for no key update of a
