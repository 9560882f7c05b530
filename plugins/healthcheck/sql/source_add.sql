-- Adds a source, or gives the one that is there another name.
insert into healthcheck.sources as s (id, name) values ($1::text, $2::text)
on conflict (id) do update set name = excluded.name
