-- What is asserted of runs, who owns a check, states with hysteresis, transitions, and errors of our own.

-- version rises with every change: what was compiled of a configuration is kept by it. A configuration that is not
-- enabled is paused wherever it is assigned. A template may refer to what the catalog says of the system it is assigned
-- to. managed_by is the document that owns it; null: people do.
alter table healthcheck.configurations
    add column description text not null default '',
    add column assertions  jsonb not null default '[]',
    add column enabled     boolean not null default true,
    add column template    boolean not null default false,
    add column version     bigint not null default 1,
    add column managed_by  text;

-- slot_at: any one slot of the rhythm. held: the configuration is paused, which is kept here so that one index finds what is due. slow: the last run took all
-- of its time, so the next one does not take a place from those that answer. thresholds: null is the default. quorum: how
-- many sources must see that something is wrong; null is any of them. vars: what a template needs to know of the system.
-- status and since are of the check as a whole, from all its sources. beat_hash: SHA-256 of the token that the target of a
-- passive check reports with.
alter table healthcheck.assignments
    add column slot_at    timestamptz not null default '2000-01-01 00:00Z',
    add column held       boolean not null default false,
    add column slow       boolean not null default false,
    add column thresholds jsonb,
    add column quorum     smallint check (quorum between 1 and 50),
    add column vars       jsonb,
    add column status     text not null default 'unknown'
        check (status in ('unknown', 'healthy', 'degraded', 'unhealthy', 'stale', 'paused')),
    add column since      timestamptz not null default now(),
    add column beat_hash  bytea unique,
    add column managed_by text;

update healthcheck.assignments set slot_at = next_run_at;
update healthcheck.assignments set status = 'paused' where not enabled;

drop index healthcheck.assignments_due;
create index assignments_due on healthcheck.assignments (slow, due_at) where enabled and local and not held;

-- A state remembers the last 64 runs, the newest in the lowest bit: seen is how many of them there were, failed has those
-- that were not healthy, down those that were unhealthy. status is what the thresholds make of that; last_status is how
-- the last run ended. stale_since: since when there has been no result for three intervals.
alter table healthcheck.states
    drop constraint states_status_check,
    add constraint states_status_check check (status in ('unknown', 'healthy', 'degraded', 'unhealthy')),
    add column last_status text,
    add column seen        smallint not null default 0 check (seen between 0 and 64),
    add column failed      bigint not null default 0,
    add column down        bigint not null default 0,
    add column stale_since timestamptz;

-- Until now the status was that of the last run.
update healthcheck.states set
    last_status = status,
    seen = 1,
    failed = case when status = 'healthy' then 0 else 1 end,
    down = case when status = 'unhealthy' then 1 else 0 end;

alter table healthcheck.states alter column last_status set not null;

update healthcheck.assignments a
set status = s.status, since = s.since
from (
    select distinct on (system_id, configuration_id) system_id, configuration_id, status, since
    from healthcheck.states
    order by system_id, configuration_id, array_position(array['unhealthy', 'degraded', 'healthy'], status)
) s
where a.system_id = s.system_id and a.configuration_id = s.configuration_id and a.enabled;

-- Every change of a status: of one source's, or, where source_id is null, of the check as a whole. run_id is the run that
-- made it, if one did.
create table healthcheck.transitions (
    id               bigint generated always as identity primary key,
    system_id        text not null,
    configuration_id uuid not null,
    source_id        text,
    from_status      text not null,
    to_status        text not null,
    at               timestamptz not null,
    cause            text not null,
    run_id           uuid,
    foreign key (system_id, configuration_id) references healthcheck.assignments on delete cascade
);

create index transitions_check on healthcheck.transitions (system_id, configuration_id, id desc);
create index transitions_at on healthcheck.transitions (at);

-- Runs that could not be made because of this server, and so say nothing of the target: a row for each streak of them.
-- ended_at is when the check could be made again.
create table healthcheck.errors (
    system_id        text not null,
    configuration_id uuid not null,
    source_id        text not null default '',
    began_at         timestamptz not null,
    last_at          timestamptz not null,
    ended_at         timestamptz,
    runs             bigint not null,
    message          text not null,
    primary key (system_id, configuration_id, source_id, began_at),
    foreign key (system_id, configuration_id) references healthcheck.assignments on delete cascade
) with (fillfactor = 85);

create unique index errors_open on healthcheck.errors (system_id, configuration_id, source_id) where ended_at is null;
create index errors_ended on healthcheck.errors (ended_at);

-- online_since: when the source came back, if it ever was offline. unsettled: it came or went, and the checks that it makes
-- have not been looked at since.
alter table healthcheck.sources
    add column online_since timestamptz,
    add column unsettled    boolean not null default true;

-- When somebody last watched that results come: one row. Time that nobody watched is not held against anything.
create table healthcheck.watch (
    single  boolean primary key default true check (single),
    seen_at timestamptz not null default now()
);

insert into healthcheck.watch default values;
