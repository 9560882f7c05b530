-- Puts a system, $2, into a group, $1. Nothing happens if it is there; a repeat changes nothing.
insert into catalog.memberships (group_id, system_id) values ($1, $2)
on conflict do nothing
