-- How many satellites there are. Under the lock of satellite_turn.sql no other comes until the transaction ends.
select count(*) from satellite.satellites
