-- The names of those of the systems $1 that exist.
select id, name from catalog.systems where id = any($1::uuid[])
