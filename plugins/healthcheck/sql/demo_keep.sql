-- Remembers the example.
update healthcheck.demo set configuration_id = $1::uuid, url = $2::text
