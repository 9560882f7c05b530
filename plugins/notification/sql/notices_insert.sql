-- Keeps notices, numbered in the order given, and has them handed on. One of an event that there is a notice of already is left
-- out. They are written in the order of their events, so that two who write the same ones wait for each other and do not deadlock.
with numbered as materialized (
    select nextval(pg_get_serial_sequence('notification.notices', 'id')) as id, u.*
    from (
        select event, spec, target, resource, thread, severity, title, message, data
        from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::jsonb[])
            with ordinality as u (event, spec, target, resource, thread, severity, title, message, data, n)
        order by n
    ) u
), kept as (
    insert into notification.notices (id, event, spec, target, resource, thread, severity, title, message, data)
    overriding system value
    select id, event, spec, target, resource, thread, severity, title, message, data
    from numbered
    order by event, id
    on conflict (event) do nothing
    returning id
)
select pg_notify('notification_work', '') from (select from kept limit 1) k
