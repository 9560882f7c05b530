-- Replaces the config $2 of a configuration by $3, which says the same, unless somebody has changed it since.
update healthcheck.configurations set config = $3::jsonb where id = $1::uuid and config = $2::jsonb
