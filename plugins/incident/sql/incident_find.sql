-- One incident, $1, with its systems.
select i.id, i.title, i.severity, i.status,
       array(select s.system_id from incident.systems s where s.incident_id = i.id order by s.system_id),
       i.created_at, i.updated_at, i.resolved_at
from incident.incidents i
where i.id = $1
