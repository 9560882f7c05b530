-- Who manages a satellite: the name of the document of configuration that it comes from, and that alone changes it then.
-- People own what has none.
alter table satellite.satellites add column managed_by text check (char_length(managed_by) between 1 and 200);

create index satellites_managed on satellite.satellites (managed_by) where managed_by is not null;
