-- The configurations that hold secrets, by their ID.
select id, config from healthcheck.configurations where config::text like '%"sealed"%' order by id
