-- Whether the system $2 is in the group $1, how many systems the group has, and in how many groups the system is.
select exists (select from catalog.memberships where group_id = $1 and system_id = $2),
       (select count(*) from catalog.memberships where group_id = $1),
       (select count(*) from catalog.memberships where system_id = $2)
