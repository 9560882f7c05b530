-- One page, $1 rows from $2, of all systems as resources: ID, name, and the groups each is in, in the order of the list
-- of systems.
select count(*) over (), s.id, s.name,
       array(select m.group_id::text from catalog.memberships m where m.system_id = s.id order by m.group_id)
from catalog.systems s
order by s.name_key
limit $1 offset $2
