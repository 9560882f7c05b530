-- The systems of a group, $1, at most $2, by name.
select s.id
from catalog.memberships m
join catalog.systems s on s.id = m.system_id
where m.group_id = $1
order by s.name_key
limit $2
