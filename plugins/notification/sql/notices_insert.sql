-- Keeps notices in the order given. One of an event that there is a notice of already is left out.
insert into notification.notices (event, spec, target, resource, severity, title, message, data)
select event, spec, target, resource, severity, title, message, data
from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::jsonb[])
    with ordinality as u (event, spec, target, resource, severity, title, message, data, n)
order by event, n
on conflict (event) do nothing
