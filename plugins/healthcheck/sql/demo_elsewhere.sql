-- The address of the example, if that is not $1 and nobody has changed the configuration.
select d.url
from healthcheck.demo d
join healthcheck.configurations c on c.id = d.configuration_id
where d.url <> $1::text and c.config = jsonb_build_object('url', d.url)
