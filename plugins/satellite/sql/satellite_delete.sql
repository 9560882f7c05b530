-- Ends a satellite, $1, and its journals. This waits for what is being recorded for it. No row comes back if there is
-- none.
delete from satellite.satellites where id = $1
returning name, region
