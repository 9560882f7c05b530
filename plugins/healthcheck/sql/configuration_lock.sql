-- Holds a configuration that is to be removed, before its assignments: whoever assigns it holds it first, too. It is not locked
-- altogether before its assignments are: who has changed an assignment twice in a transaction, as one that stores runs may,
-- has its reference to the configuration checked, and waits for that while it holds the assignment.
select 1 from healthcheck.configurations where id = $1::uuid for no key update
