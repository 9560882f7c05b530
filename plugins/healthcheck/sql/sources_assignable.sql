-- Holds the sources $3 that are to be given a check, in the order of their IDs, each with how many other checks it has.
-- A source that does not exist has no row.
select s.id, (select count(*) from healthcheck.assignment_sources o
    where o.source_id = s.id and (o.system_id, o.configuration_id) <> ($1::text, $2::uuid))
from healthcheck.sources s
where s.id = any ($3::text[])
order by s.id
for key share of s
