-- Holds a system, $1, so that nobody else changes or deletes it until the transaction ends, and says who manages it. No row
-- comes back if there is none, also if it was deleted while this waited.
select managed_by from catalog.systems where id = $1 for no key update
