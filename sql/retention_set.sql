-- Keeps one check of one system for as long as it says, or puts the defaults back where it had another retention. Raw runs of
-- the check are complete since its raw retention until now began, or since what was found so before; an hour later,
-- because runs may be recorded by the old one until this is committed. A retention that was put back stays as a row until
-- that makes no difference any more (retention_sweep.sql).
-- $1 system, $2 configuration, $3 to $5 how long raw runs, hours and days are kept, $6 whether these are the defaults, $7 the
-- default retention of raw runs, in days
insert into checkstack.health_check_retention as o (system_id, configuration_id, raw_days, hourly_days, daily_days, reset,
  raw_since)
select $1, $2::uuid, $3, $4, $5, $6::boolean,
  statement_timestamp() - $7::integer * interval '24 hours' + interval '1 hour'
where not $6 or exists (select from checkstack.health_check_retention r
                        where r.system_id = $1 and r.configuration_id = $2::uuid and not r.reset)
on conflict (system_id, configuration_id) do update set
  raw_days = excluded.raw_days,
  hourly_days = excluded.hourly_days,
  daily_days = excluded.daily_days,
  reset = excluded.reset,
  raw_since = greatest(o.raw_since,
    ((excluded.raw_since at time zone 'UTC') + ($7 - o.raw_days) * interval '24 hours') at time zone 'UTC')
