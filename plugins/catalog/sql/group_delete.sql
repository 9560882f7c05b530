-- Ends a group, $1, and its memberships.
delete from catalog.groups where id = $1
