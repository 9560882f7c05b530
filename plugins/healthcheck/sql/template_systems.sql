-- The systems that a configuration is assigned to, if it is a template, $2, or was one.
select system_id from healthcheck.assignments
where configuration_id = $1::uuid and ($2::boolean or vars is not null)
order by system_id
