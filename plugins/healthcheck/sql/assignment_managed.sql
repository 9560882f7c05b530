-- Who owns an assignment, null if people do. It is held until the transaction ends. No row: there is none.
select managed_by from healthcheck.assignments where system_id = $1::text and configuration_id = $2::uuid for no key update
