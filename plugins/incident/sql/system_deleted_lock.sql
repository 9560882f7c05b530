-- Holds the incidents of a system, $1, in the order of their IDs, so that their timelines can be added to.
select id
from incident.incidents
where id in (select incident_id from incident.systems where system_id = $1)
order by id
for update
