-- How many systems and checks there are of each status, paused ones included; a system is as bad as the worst of its checks
-- that are on.
with ranked as (
    select system_id, status, array_position(array['paused', 'healthy', 'unknown', 'stale', 'degraded', 'unhealthy'], status) as badness
    from healthcheck.assignments
),
systems as (
    select (array['paused', 'healthy', 'unknown', 'stale', 'degraded', 'unhealthy'])[max(badness)] as status
    from ranked
    group by system_id
)
select 'system', status, count(*) from systems group by status
union all
select 'check', status, count(*) from ranked group by status
