-- One system, $1, as a resource.
select s.id, s.name,
       array(select m.group_id::text from catalog.memberships m where m.system_id = s.id order by m.group_id)
from catalog.systems s
where s.id = $1
