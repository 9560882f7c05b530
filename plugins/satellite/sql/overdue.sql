-- Takes up to 100 satellites that have not been heard of for longer than they may be silent, and notes that they are
-- offline since they were last heard of. The last time in which nobody looked does not count, as far as it came after
-- that. A satellite that somebody else holds is being heard of, or taken, at this moment and left out, so each is taken
-- by one server.
with taken as materialized (
    select s.id
    from satellite.satellites s
    cross join satellite.watch w
    where s.offline_since is null
      and now() - s.last_seen_at - greatest(w.away_until - greatest(w.away_from, s.last_seen_at), interval '0')
          > s.offline_after_seconds * interval '1 s'
    order by s.id
    limit 100
    for no key update of s skip locked
)
update satellite.satellites s
set offline_since = s.last_seen_at
from taken
where s.id = taken.id
returning s.id, s.name, s.region, s.offline_since
