-- Whether one of the systems $2 is in $3 groups or more beside the group $1.
select exists (
    select from catalog.memberships
    where system_id = any($2::uuid[]) and group_id <> $1
    group by system_id
    having count(*) >= $3
)
