-- Adds errors of ours to the streak that is open at the source ''; or begins one. At most one for each check in a batch. Returns
-- the system of each, and the message if its streak has begun.
insert into healthcheck.errors as e (system_id, configuration_id, source_id, began_at, last_at, runs, message)
select system_id, configuration_id, '', at, at, 1, message
from unnest($1::text[], $2::uuid[], $3::timestamptz[], $4::text[]) as u (system_id, configuration_id, at, message)
order by system_id, configuration_id
on conflict (system_id, configuration_id, source_id) where ended_at is null do update set
    last_at = greatest(e.last_at, excluded.last_at),
    runs = e.runs + 1,
    message = excluded.message
returning system_id, case when runs = 1 then message end
