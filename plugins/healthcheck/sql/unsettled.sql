-- Locks a source that came or went since its checks were last settled: whoever reports for it waits.
select id from healthcheck.sources where unsettled order by id limit 1 for no key update skip locked
