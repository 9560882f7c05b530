-- How many seconds it is until an assignment of the types $1 is due on this server; null if there is none.
select extract(epoch from a.due_at - now())::float8
from healthcheck.assignments a
join healthcheck.configurations c on c.id = a.configuration_id
where a.enabled and a.local and c.type = any ($1::text[])
order by a.due_at
limit 1
