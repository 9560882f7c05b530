-- Points the example from the address $1 at $2, whose config is $3, unless somebody has changed it since. Returns the configuration.
with moved as (
    update healthcheck.configurations c
    set config = $3::jsonb, version = c.version + 1, updated_at = now()
    from healthcheck.demo d
    where c.id = d.configuration_id and d.url = $1::text and c.config = jsonb_build_object('url', d.url)
    returning c.id
),
kept as (
    update healthcheck.demo d set url = $2::text from moved where d.configuration_id = moved.id
)
select id from moved
