-- Locks a configuration that is to be removed, before its assignments: whoever assigns it holds it first, too.
select 1 from healthcheck.configurations where id = $1::uuid for update
