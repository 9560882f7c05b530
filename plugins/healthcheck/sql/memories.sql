-- What is remembered of checks at the source $3, whether an error of ours is open there, and the run that it
-- is as new as. It comes after the lock of the
-- assignments and is a statement of its own: one that had to wait for a lock sees other tables as they were before.
select u.system_id, u.configuration_id, s.status, s.since, s.last_run_at, s.seen, s.failed, s.down, s.stale_since is not null,
    e.began_at is not null, s.run_id
from unnest($1::text[], $2::uuid[]) as u (system_id, configuration_id)
left join healthcheck.states s
    on s.system_id = u.system_id and s.configuration_id = u.configuration_id and s.source_id = $3::text
left join healthcheck.errors e
    on e.system_id = u.system_id and e.configuration_id = u.configuration_id and e.source_id = $3::text and e.ended_at is null
