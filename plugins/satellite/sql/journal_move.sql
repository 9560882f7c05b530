-- Notes that the batch $3 of a journal, $2, of a satellite, $1, was applied now. The number never goes down.
insert into satellite.journals as j (satellite_id, journal, batch)
values ($1, $2, $3)
on conflict (satellite_id, journal) do update set batch = excluded.batch, used_at = excluded.used_at
where j.batch < excluded.batch
