-- Holds a group, $1, so that it is not deleted and no other of its memberships is made until the transaction ends.
select true from catalog.groups where id = $1 for no key update
