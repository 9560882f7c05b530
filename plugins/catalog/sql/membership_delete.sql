-- Takes a system, $2, out of a group, $1, if it is in it, and says whether there is such a system.
with gone as (
    delete from catalog.memberships where group_id = $1 and system_id = $2
)
select exists (select from catalog.systems where id = $2)
