-- Makes the systems of an incident, $1, those of $2. A system that stays keeps its row.
with gone as (
    delete from incident.systems where incident_id = $1::uuid and system_id <> all($2::text[])
)
insert into incident.systems (incident_id, system_id)
select $1::uuid, system_id from unnest($2::text[]) as wanted (system_id)
order by system_id
on conflict do nothing
