-- Whether there is neither a system nor a group.
select not exists (select from catalog.systems) and not exists (select from catalog.groups)
