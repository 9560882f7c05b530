-- Locks the assignments that a source has, in the order of their key, and returns them. Comes after the lock of the source.
select a.system_id, a.configuration_id
from healthcheck.assignments a
join healthcheck.assignment_sources s on s.system_id = a.system_id and s.configuration_id = a.configuration_id
where s.source_id = $1::text
order by a.system_id, a.configuration_id
for no key update of a
