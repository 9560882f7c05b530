-- Holds a system, $1, alone: waits for all who hold it against being deleted, and makes all others wait. It says who
-- manages it.
select managed_by from catalog.systems where id = $1 for update
