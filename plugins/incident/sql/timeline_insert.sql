-- Adds an entry, $2 to $7, to the timeline of an incident, $1, that this transaction holds, or has made.
insert into incident.timeline (incident_id, number, at, kind, author_id, author_name, message, status, changes)
select $1::uuid, coalesce(max(number), 0) + 1, clock_timestamp(), $2::text, $3::text, $4::text, $5::text,
       nullif($6::text, ''), $7::jsonb
from incident.timeline
where incident_id = $1
returning number, at, kind, author_id, author_name, message, status, changes
