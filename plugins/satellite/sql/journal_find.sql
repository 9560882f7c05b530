-- The highest number of a batch that was applied for a journal, $2, of a satellite, $1. To be run under the satellite's
-- lock.
select batch from satellite.journals where satellite_id = $1 and journal = $2
