-- Keeps a subscription spec, $1 to $6, in the same way as a target.
insert into notification.specs as s (type, target, name, description, owner, covers)
values ($1, $2, $3, $4, $5, $6)
on conflict (type) do update
set target = excluded.target, name = excluded.name, description = excluded.description, owner = excluded.owner,
    covers = excluded.covers, updated_at = now()
where (s.target, s.name, s.description, s.owner, s.covers)
      is distinct from (excluded.target, excluded.name, excluded.description, excluded.owner, excluded.covers)
