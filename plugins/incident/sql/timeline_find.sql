-- One entry, $2, of the timeline of an incident, $1.
select number, at, kind, author_id, author_name, message, status, changes
from incident.timeline
where incident_id = $1 and number = $2
