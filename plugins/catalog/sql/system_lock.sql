-- Holds a system, $1, against being deleted until the transaction ends. Any number of transactions can hold it at once,
-- and it can be changed meanwhile. No row comes back if there is none, also if it was deleted while this waited.
select true from catalog.systems where id = $1 for key share
