-- Who manages a system or a group: the name of the document of configuration that it comes from, and that alone changes it
-- then. People own what has none.
alter table catalog.systems add column managed_by text check (char_length(managed_by) between 1 and 200);
alter table catalog.groups add column managed_by text check (char_length(managed_by) between 1 and 200);

create index systems_managed on catalog.systems (managed_by) where managed_by is not null;
create index groups_managed on catalog.groups (managed_by) where managed_by is not null;
