-- Makes the sources $3, and no others, those of an assignment beside this server; $4 says whether this server is one.
-- What sources saw that are none any more goes: that of others with their rows here, that of this server by itself, and its error ends.
-- Comes after assign.sql.
with gone as (
    delete from healthcheck.assignment_sources
    where system_id = $1::text and configuration_id = $2::uuid and source_id <> all ($3::text[])
),
here as (
    delete from healthcheck.states
    where system_id = $1::text and configuration_id = $2::uuid and source_id = '' and not $4::boolean
),
ended as (
    update healthcheck.errors set ended_at = greatest(now(), last_at)
    where system_id = $1::text and configuration_id = $2::uuid and source_id = '' and ended_at is null and not $4::boolean
)
insert into healthcheck.assignment_sources (system_id, configuration_id, source_id)
select $1::text, $2::uuid, u.source_id
from unnest($3::text[]) as u (source_id)
order by u.source_id
on conflict do nothing
