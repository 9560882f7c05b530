-- One page, $2 rows from $3, of the timeline of an incident, $1, the newest entry first, with their number on all
-- pages.
select count(*) over (), number, at, kind, author_id, author_name, message, status, changes
from incident.timeline
where incident_id = $1
order by number desc
limit $2 offset $3
