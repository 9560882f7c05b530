-- Holds a satellite, $1, alone until the transaction ends, and says who manages it. No row comes back if there is none, also
-- if it was deleted while this waited.
select managed_by from satellite.satellites where id = $1 for update
