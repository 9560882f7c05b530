-- Holds a system, $1, so that it is not deleted and no other of its memberships is made until the transaction ends.
-- Whoever only holds it against being deleted is not kept waiting.
select true from catalog.systems where id = $1 for no key update
