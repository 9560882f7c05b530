-- Keeps changes of statuses, in the order given.
insert into healthcheck.transitions (system_id, configuration_id, source_id, from_status, to_status, at, cause, run_id)
select system_id, configuration_id, source_id, from_status, to_status, at, cause, run_id
from unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::text[], $8::uuid[])
    with ordinality as u (system_id, configuration_id, source_id, from_status, to_status, at, cause, run_id, n)
order by n
