-- Ends a system, $1, and its memberships.
delete from catalog.systems where id = $1
