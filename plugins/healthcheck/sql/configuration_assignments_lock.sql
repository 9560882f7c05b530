-- Locks the assignments of a configuration, in the order of their key, before it gets another name: that locks out who checks
-- a reference to it, and who stores runs may do so while it holds an assignment.
select 1 from healthcheck.assignments where configuration_id = $1::uuid order by system_id for no key update
