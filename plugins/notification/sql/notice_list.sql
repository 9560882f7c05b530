-- A page of the notices, the newest first, of one resource or, where $1 and $2 are empty, of all, each with how many there
-- are on all pages, counted as far as 10,000.
select (select count(*) from (select from notification.notices
        where ($1::text = '' or target = $1::text) and ($2::text = '' or resource = $2::text) limit 10000) counted),
    id, spec, target, resource, severity, title, message, data, created_at
from notification.notices
where ($1::text = '' or target = $1::text) and ($2::text = '' or resource = $2::text)
order by id desc
limit $3::integer offset $4::integer
