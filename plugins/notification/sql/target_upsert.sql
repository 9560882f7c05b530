-- Keeps a target, $1 to $4. Several servers do this at every start: a row that says the same already is not written
-- again, and a repeat changes nothing.
insert into notification.targets as t (type, name, description, owner)
values ($1, $2, $3, $4)
on conflict (type) do update
set name = excluded.name, description = excluded.description, owner = excluded.owner, updated_at = now()
where (t.name, t.description, t.owner) is distinct from (excluded.name, excluded.description, excluded.owner)
