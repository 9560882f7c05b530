-- Makes a channel, $1 to $8. No row comes back if its name is taken, whatever its case, or if there are as many as there may be, $9;
-- the transaction lives on.
insert into notification.channels (id, name, name_key, type, config, destination, enabled, managed_by)
select $1::uuid, $2::text, $3::text, $4::text, $5::text, $6::text, $7::boolean, $8::text
where (select count(*) from notification.channels) < $9::integer
on conflict (name_key) do nothing
returning id, name, type, destination, enabled, managed_by, failures, failing_since, error, 0, created_at, updated_at, config
