-- The checks of a source are settled. Comes after unsettled.sql.
update healthcheck.sources set unsettled = false where id = $1::text
