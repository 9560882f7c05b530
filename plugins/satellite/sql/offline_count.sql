-- How many satellites are offline, of those that were ever heard of, and how many those are.
select count(*) filter (where offline_since is not null), count(*)
from satellite.satellites
where last_seen_at is not null
