-- The history of all checks: raw runs, their sums by hour and by day, and how long each is kept (SPEC D).
--
-- Every key begins with system_id, nothing refers to another table, and nothing is computed by triggers, so that the same
-- statements run on tables distributed by system_id. Texts in keys compare by their bytes: fast, and the same everywhere.

-- hist_idx is the number of the bucket, 0 to 488, that a latency in milliseconds falls into; hist_ms is the latency that stands
-- for all of a bucket. Scheme 1: the buckets begin at 0, at 1, and then, with a where one begins and r = a + a/50 its value,
-- at 50·r/49 + 1 (integer division). So every latency is within 2 % of its bucket's value, and exact up to 48 ms.
do $do$
declare
  begins integer[] := '{0}';
  stands integer[] := '{0}';
  a bigint := 1;
  r bigint;
begin
  while a < 2147483648 loop
    r := a + a / 50;
    begins := begins || a::integer;
    stands := stands || least(r, 2147483647)::integer;
    a := 50 * r / 49 + 1;
  end loop;
  execute format('create function checkstack.hist_idx(ms integer) returns smallint language sql immutable strict parallel safe as %L',
    format('select (pg_catalog.width_bucket(ms, %L::integer[]) - 1)::smallint', begins));
  execute format('create function checkstack.hist_ms(idx smallint) returns integer language sql immutable strict parallel safe as %L',
    format('select (%L::integer[])[idx + 1]', stands));
end $do$;

-- hist_p95 reads the 95th percentile of a histogram of total latencies by nearest rank: the value of the first bucket up to which
-- there are at least 95 % of them, but never outside lo to hi, the least and the greatest of them. It walks from the top,
-- where 5 % are. Null where there is none.
create function checkstack.hist_p95(idx smallint[], cnt bigint[], total bigint, lo integer, hi integer) returns integer
language plpgsql immutable parallel safe as $f$
declare
  k integer := cardinality(idx);
  above bigint := total - (95 * total + 99) / 100; -- how many are above the rank
begin
  if k = 0 then
    return null;
  end if;
  while k > 1 and above >= cnt[k] loop
    above := above - cnt[k];
    k := k - 1;
  end loop;
  return least(greatest(checkstack.hist_ms(idx[k]), lo), hi);
end $f$;

-- hist_idxs and hist_cnts put the buckets and the counts of many histograms one behind the other, for unnest to take apart: the two
-- keep step with each other, and it is faster than to join each row with its own buckets. For a day's rows, not for thousands.
create aggregate checkstack.hist_idxs(smallint[]) (sfunc = pg_catalog.array_cat, stype = smallint[], parallel = safe);
create aggregate checkstack.hist_cnts(bigint[]) (sfunc = pg_catalog.array_cat, stype = bigint[], parallel = safe);

-- hist_merge adds the histogram (i2, c2) of n2 latencies, scheme v2, 95th percentile p2, to the histogram (i1, c1) of n1. Both are
-- sorted and without empty buckets, and so is the result. lo and hi are the least and the greatest latency of both. Where one
-- of them has no histogram (its scheme is null), or one of a scheme that is not known here, the result has none, and its
-- percentile is the greater one. It puts the few buckets of the second into the first: 1.3 to 5 times less work than to sort both anew.
create function checkstack.hist_merge(
  i1 smallint[], c1 bigint[], v1 smallint, n1 bigint, p1 integer,
  i2 smallint[], c2 bigint[], v2 smallint, n2 bigint, p2 integer,
  lo integer, hi integer,
  out idx smallint[], out cnt bigint[], out v smallint, out p95 integer)
language plpgsql immutable parallel safe as $f$
declare
  b smallint;
  p integer;
begin
  if n2 = 0 then
    idx := i1; cnt := c1; v := v1; p95 := p1;
    return;
  elsif n1 = 0 then
    idx := i2; cnt := c2; v := v2; p95 := p2;
    return;
  elsif v1 is distinct from 1 or v2 is distinct from 1 then
    idx := '{}'; cnt := '{}'; p95 := greatest(p1, p2);
    return;
  end if;
  v := 1;
  idx := i1; cnt := c1;
  for j in 1 .. cardinality(i2) loop
    b := i2[j];
    p := pg_catalog.width_bucket(b, idx); -- how many stored buckets are not above b
    if p > 0 and idx[p] = b then
      cnt[p] := cnt[p] + c2[j];
    else
      idx := idx[:p] || b || idx[p + 1:];
      cnt := cnt[:p] || c2[j] || cnt[p + 1:];
    end if;
  end loop;
  p95 := checkstack.hist_p95(idx, cnt, n1 + n2, lo, hi);
end $f$;

-- json_or_null is a text as JSON, or null where it is none that can be stored: also such as has U+0000, half of a surrogate pair, a number
-- out of range or too deep a nesting, which one run must not make a whole batch fail for.
create function checkstack.json_or_null(t text) returns jsonb language plpgsql immutable strict parallel safe as $f$
begin
  return t::jsonb;
exception when data_exception or program_limit_exceeded then
  return null;
end $f$;

create table checkstack.health_check_runs (
  system_id        text collate "C" not null,
  source_id        text collate "C" not null default '', -- '': this server; else a satellite
  run_id           uuid not null,
  executed_at      timestamptz not null,
  configuration_id uuid not null,
  status           text collate "C" not null check (status in ('healthy', 'degraded', 'unhealthy')),
  latency_ms       integer check (latency_ms >= 0), -- null: none was measured
  message          text not null default '',
  result           jsonb,
  received_at      timestamptz not null,
  -- Time comes first: new runs, whose IDs are random, go to one warm end of the index (1.7 times the runs a second), and the
  -- oldest, which are the next to expire, are at the other.
  primary key (executed_at, run_id, system_id, source_id)
);
-- The newest runs of a check, and its oldest to expire where it is kept shorter than the default.
create index health_check_runs_check on checkstack.health_check_runs (system_id, configuration_id, executed_at);

-- One row adds up the runs of one check from one source in one hour or one day (UTC). The average is latency_sum_ms /
-- latency_count; runs without a latency do not enter it. The distribution of the latencies is kept as the
-- numbers of the buckets that have any, in order, and their counts.
create table checkstack.health_check_aggregates (
  system_id        text collate "C" not null,
  configuration_id uuid not null,
  bucket_size      text collate "C" not null check (bucket_size in ('hourly', 'daily')),
  bucket_start     timestamptz not null,
  source_id        text collate "C" not null default '',
  run_count        bigint not null check (run_count > 0),
  healthy_count    bigint not null,
  degraded_count   bigint not null,
  unhealthy_count  bigint not null,
  latency_count    bigint not null,
  latency_sum_ms   bigint not null,
  min_latency_ms   integer,
  max_latency_ms   integer,
  p95_latency_ms   integer,
  latency_hist_idx smallint[] not null default '{}',
  latency_hist_cnt bigint[] not null default '{}',
  latency_hist_v   smallint, -- the scheme; null: the distribution is not known
  primary key (system_id, configuration_id, bucket_size, bucket_start, source_id)
) with (fillfactor = 85); -- room to update a row on its page; so no index is on a column that changes
-- What is due to be rolled up or to expire.
create index health_check_aggregates_age on checkstack.health_check_aggregates (bucket_size, bucket_start);

-- How long one check of one system is kept, in days of 24 hours, where it is not the default: raw 7, hourly 30, daily 365.
create table checkstack.health_check_retention (
  system_id        text collate "C" not null,
  configuration_id uuid not null,
  raw_days         integer not null check (raw_days between 1 and 30),
  hourly_days      integer not null check (hourly_days between 7 and 90),
  daily_days       integer not null check (daily_days between 30 and 3650),
  primary key (system_id, configuration_id),
  check (raw_days < hourly_days and hourly_days < daily_days)
);
