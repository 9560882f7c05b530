-- Ends a satellite, $1, and its journals. This waits for what is being recorded for it.
delete from satellite.satellites where id = $1
