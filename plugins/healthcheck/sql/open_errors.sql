-- What keeps checks that are on from being made, by how many it keeps, up to 20 reasons, each since when.
select e.message, count(*), min(e.began_at)
from healthcheck.errors e
join healthcheck.assignments a on a.system_id = e.system_id and a.configuration_id = e.configuration_id
where e.ended_at is null and a.enabled and not a.held
group by e.message
order by count(*) desc, e.message
limit 20
