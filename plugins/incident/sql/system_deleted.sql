-- Takes a system, $1, out of all its incidents, which this transaction holds, and notes in each who, $2 and $3, deleted
-- it.
with gone as (
    delete from incident.systems where system_id = $1 returning incident_id
),
touched as (
    update incident.incidents set updated_at = clock_timestamp() where id in (select incident_id from gone)
)
insert into incident.timeline (incident_id, number, at, kind, author_id, author_name, message, changes)
select g.incident_id,
       (select coalesce(max(t.number), 0) + 1 from incident.timeline t where t.incident_id = g.incident_id),
       clock_timestamp(), 'edited', $2::text, $3::text, '',
       jsonb_build_object('systemsRemoved', jsonb_build_array($1::text))
from gone g
