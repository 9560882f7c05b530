-- Keeps a subscription spec, $1 to $5, in the same way as a target.
insert into notification.specs as s (type, target, name, description, owner)
values ($1, $2, $3, $4, $5)
on conflict (type) do update
set target = excluded.target, name = excluded.name, description = excluded.description, owner = excluded.owner,
    updated_at = now()
where (s.target, s.name, s.description, s.owner)
      is distinct from (excluded.target, excluded.name, excluded.description, excluded.owner)
