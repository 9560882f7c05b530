-- Forgets the journal of a satellite, $1, that was not used for longest, if it was not used for 400 days. To be run under
-- the satellite's lock.
delete from satellite.journals j
using (
    select journal from satellite.journals
    where satellite_id = $1 and used_at < now() - interval '400 days'
    order by used_at, journal
    limit 1
) oldest
where j.satellite_id = $1 and j.journal = oldest.journal
