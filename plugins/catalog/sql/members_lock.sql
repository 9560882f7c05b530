-- Holds those of the systems $1 that exist, in the order of their IDs, so that none is deleted and no other of their
-- memberships is made until the transaction ends.
select id from catalog.systems where id = any($1::uuid[]) order by id for no key update
