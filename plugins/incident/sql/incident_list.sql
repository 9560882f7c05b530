-- One page, $3 rows from $4, of the incidents, the newest first, with their number on all pages: if $1 is 'open' or
-- 'resolved' only those, if $2 is not empty only those of that system.
select count(*) over (), i.id, i.title, i.severity, i.status,
       array(select s.system_id from incident.systems s where s.incident_id = i.id order by s.system_id),
       i.created_at, i.updated_at, i.resolved_at
from incident.incidents i
where ($1::text = '' or (i.resolved_at is null) = ($1::text = 'open'))
  and ($2::text = '' or exists (select from incident.systems s where s.incident_id = i.id and s.system_id = $2::text))
order by i.created_at desc, i.id
limit $3 offset $4
