-- Makes the systems $2 those of a group, $1, and takes all others out. A repeat changes nothing.
with gone as (
    delete from catalog.memberships where group_id = $1 and system_id <> all($2::uuid[])
)
insert into catalog.memberships (group_id, system_id)
select $1, system_id from unnest($2::uuid[]) system_id
on conflict do nothing
