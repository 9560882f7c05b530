-- Raw runs by UTC day, parts of a day that can be rolled up by themselves, retentions that change, and a faster way to add one
-- bucket to a histogram (SPEC D).

-- A raw run is in the partition of the UTC day it was executed in, health_check_runs_YYYYMMDD. Partitions are made ahead, and
-- dropped when the longest retention of any check has passed, which frees the disk at once and leaves nothing to vacuum. There
-- is none for everything else: a run is stored where it belongs or not at all. The columns are those of 0001.
alter table checkstack.health_check_runs rename to health_check_runs_old;
alter table checkstack.health_check_runs_old rename constraint health_check_runs_pkey to health_check_runs_old_pkey;
alter index checkstack.health_check_runs_check rename to health_check_runs_old_check;

create table checkstack.health_check_runs (
  system_id        text collate "C" not null,
  source_id        text collate "C" not null default '',
  run_id           uuid not null,
  executed_at      timestamptz not null,
  configuration_id uuid not null,
  status           text collate "C" not null,
  latency_ms       integer,
  message          text not null default '',
  result           jsonb,
  received_at      timestamptz not null,
  primary key (executed_at, run_id, system_id, source_id),
  constraint health_check_runs_status_check check (status in ('healthy', 'degraded', 'unhealthy')), -- named as those of 0001
  constraint health_check_runs_latency_ms_check check (latency_ms >= 0)
) partition by range (executed_at);
create index health_check_runs_check on checkstack.health_check_runs (system_id, configuration_id, executed_at);

-- What was recorded before this is one partition, up to the day after the newest run. It is dropped as the others are, when
-- all of it has passed.
do $do$
begin
  if exists (select from checkstack.health_check_runs_old) then
    execute (select format('alter table checkstack.health_check_runs attach partition checkstack.health_check_runs_old
        for values from (minvalue) to (%L)',
        date_trunc('day', greatest(max(executed_at), clock_timestamp()), 'UTC') + interval '24 hours')
      from checkstack.health_check_runs_old);
  else
    drop table checkstack.health_check_runs_old;
  end if;
end $do$;

-- run_partitions lists the partitions of the raw runs: the name of each in this schema, and the times it is for, from the first
-- to before the second. It reads them as they are, whoever made them, and in whatever time zone the session is.
create function checkstack.run_partitions(out name text, out since timestamptz, out until timestamptz) returns setof record
language sql stable set timezone = 'UTC' set datestyle = 'ISO' as $f$
  select c.relname::text,
    coalesce(substring(b.bound from 'FROM \(''([^'']+)''\)')::timestamptz, '-infinity'),
    substring(b.bound from 'TO \(''([^'']+)''\)')::timestamptz
  from pg_catalog.pg_inherits i
  join pg_catalog.pg_class c on c.oid = i.inhrelid
  cross join lateral (select pg_catalog.pg_get_expr(c.relpartbound, c.oid) as bound) b
  where i.inhparent = 'checkstack.health_check_runs'::regclass
$f$;

-- missing_run_days lists the UTC days from since to until that have no partition.
create function checkstack.missing_run_days(since timestamptz, until timestamptz) returns setof timestamptz
language sql stable as $f$
  select d
  from pg_catalog.generate_series(date_trunc('day', since, 'UTC'), until, interval '24 hours') d
  where not exists (select from checkstack.run_partitions() p where d >= p.since and d < p.until)
$f$;

-- make_run_partitions makes the partitions of the UTC days from since to until that are missing, and returns how many. Any
-- number of servers may do so at once. To attach a table that is made before keeps nobody from reading or recording; to create
-- it as a partition would.
create function checkstack.make_run_partitions(since timestamptz, until timestamptz) returns integer
language plpgsql set timezone = 'UTC' set datestyle = 'ISO' as $f$
declare
  made integer := 0;
  day timestamptz;
  partition text;
begin
  if not exists (select from checkstack.missing_run_days(since, until)) then
    return 0;
  end if;
  perform pg_catalog.pg_advisory_xact_lock(20032, 0); -- another server may make them at this moment
  foreach day in array array(select checkstack.missing_run_days(since, until)) loop
    partition := 'health_check_runs_' || to_char(day, 'YYYYMMDD');
    execute format('create table checkstack.%I (like checkstack.health_check_runs including all)', partition);
    execute format('alter table checkstack.health_check_runs attach partition checkstack.%I for values from (%L) to (%L)',
      partition, day, day + interval '24 hours');
    made := made + 1;
  end loop;
  return made;
end $f$;

-- drop_run_partition drops the oldest partition that ends before the time given, and returns its name and how many runs it
-- had, or nulls where there is none. All who use the raw runs wait while it waits for those who do already, so it gives up
-- after 2 seconds (55P03).
create function checkstack.drop_run_partition(before timestamptz, out partition text, out runs bigint)
language plpgsql set lock_timeout = '2s' as $f$
begin
  select p.name into partition
  from checkstack.run_partitions() p
  where p.until <= before
  order by p.until
  limit 1;
  if found then
    execute format('select count(*) from checkstack.%I', partition) into runs;
    execute format('drop table checkstack.%I', partition);
  end if;
end $f$;

select checkstack.make_run_partitions(statement_timestamp() - interval '192 hours', statement_timestamp() + interval '168 hours');

-- hist_put_idx, hist_put_cnt and hist_put_p95 are hist_merge for the most frequent case, one more bucket b of n latencies:
-- expressions that the planner puts into the statement that calls them, which takes half the time of hist_merge.
-- Both histograms have scheme 1 and are not empty; total and p95 are those of (idx, cnt), lo and hi the least and the
-- greatest latency of both. width_bucket is how many of the buckets in idx are not above b.
create function checkstack.hist_put_idx(idx smallint[], b smallint) returns smallint[]
language sql immutable parallel safe as $f$
  select case when idx[pg_catalog.width_bucket(b, idx)] = b then idx
    else idx[:pg_catalog.width_bucket(b, idx)] || array[b] || idx[pg_catalog.width_bucket(b, idx) + 1:] end
$f$;

create function checkstack.hist_put_cnt(idx smallint[], cnt bigint[], b smallint, n bigint) returns bigint[]
language sql immutable parallel safe as $f$
  select case when idx[pg_catalog.width_bucket(b, idx)] = b
      then cnt[:pg_catalog.width_bucket(b, idx) - 1] || array[cnt[pg_catalog.width_bucket(b, idx)] + n]
      else cnt[:pg_catalog.width_bucket(b, idx)] || array[n] end
    || cnt[pg_catalog.width_bucket(b, idx) + 1:]
$f$;

-- The percentile is the latency with total / 20 others above it (integer division). Of fewer than 20 it is the greatest. One
-- more latency leaves it in its bucket if it is not above that bucket and the number above stays, or if it is not below and
-- the number grows by one: nine times of ten. Which bucket it is tells the value that is stored: it is the bucket's own,
-- or lo or hi where the bucket's own is outside them, and then they are in that bucket.
create function checkstack.hist_put_p95(idx smallint[], cnt bigint[], total bigint, p95 integer, b smallint, n bigint,
  lo integer, hi integer) returns integer
language sql immutable parallel safe as $f$
  select case
    when total + n < 20 then least(greatest(checkstack.hist_ms(checkstack.hist_idx(hi)), lo), hi)
    when n = 1 and case when (total + 1) % 20 = 0 then b >= checkstack.hist_idx(p95) else b <= checkstack.hist_idx(p95) end
      then least(greatest(checkstack.hist_ms(checkstack.hist_idx(p95)), lo), hi)
    else checkstack.hist_p95(checkstack.hist_put_idx(idx, b), checkstack.hist_put_cnt(idx, cnt, b, n), total + n, lo, hi) end
$f$;

-- What is due to be rolled up or to expire. By system too, so that a day can be rolled up in parts.
drop index checkstack.health_check_aggregates_age;
create index health_check_aggregates_age on checkstack.health_check_aggregates (bucket_size, bucket_start, system_id);

-- A retention that was made longer does not bring back the raw runs that are gone, so a repeat of one of them would not be known.
-- Raw runs of the check are complete since raw_since; what is older counts as older than the raw retention. For the same
-- reason a retention that was put back to the defaults stays a while, with reset set.
alter table checkstack.health_check_retention
  add column raw_since timestamptz not null default '-infinity',
  add column reset boolean not null default false;
