-- The systems of the groups $1, by group, then by name.
select m.group_id, m.system_id
from catalog.memberships m
join catalog.systems s on s.id = m.system_id
where m.group_id = any($1::uuid[])
order by m.group_id, s.name_key
