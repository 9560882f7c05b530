-- Forgets, at most 10,000 of each at a time, transitions that are older than a year and errors of ours that ended 30 days ago.
with transitions as (
    delete from healthcheck.transitions
    where id in (select id from healthcheck.transitions where at < now() - interval '365 days' order by at limit 10000)
)
delete from healthcheck.errors
where (system_id, configuration_id, source_id, began_at) in (
    select system_id, configuration_id, source_id, began_at
    from healthcheck.errors
    where ended_at < now() - interval '30 days'
    order by ended_at
    limit 10000)
