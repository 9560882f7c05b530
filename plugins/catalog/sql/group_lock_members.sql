-- Holds a group, $1, so that it is not deleted and no other of its memberships is made until the transaction ends, and says
-- who manages it.
select managed_by from catalog.groups where id = $1 for no key update
