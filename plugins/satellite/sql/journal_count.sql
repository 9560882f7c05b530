-- How many journals a satellite, $1, has.
select count(*) from satellite.journals where satellite_id = $1
