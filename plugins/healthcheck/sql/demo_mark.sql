-- Claims the right to make the example: of all servers that ever boot on this database one gets a row, and the others
-- wait for it.
insert into healthcheck.demo default values
on conflict do nothing
returning single
