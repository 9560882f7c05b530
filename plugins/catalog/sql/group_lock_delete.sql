-- Holds a group, $1, alone until the transaction ends, and says who manages it.
select managed_by from catalog.groups where id = $1 for update
