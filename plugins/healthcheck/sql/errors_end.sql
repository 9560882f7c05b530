-- Ends the streaks of errors of checks that could be made again.
update healthcheck.errors e
set ended_at = greatest(u.at, e.last_at)
from unnest($1::text[], $2::uuid[], $3::timestamptz[]) as u (system_id, configuration_id, at)
where e.system_id = u.system_id and e.configuration_id = u.configuration_id and e.source_id = '' and e.ended_at is null
