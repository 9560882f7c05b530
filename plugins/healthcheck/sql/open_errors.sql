-- What keeps checks from being made, by how many it keeps, up to 20 reasons, each since when.
select message, count(*), min(began_at)
from healthcheck.errors
where ended_at is null
group by message
order by count(*) desc, message
limit 20
