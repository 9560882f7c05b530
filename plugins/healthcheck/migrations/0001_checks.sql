-- What is checked, where, and how it went last. System IDs belong to the catalog and are kept as text. A name is taken whatever
-- its case: name_key is the name with its case folded by the server, and so the same in every locale.

create table healthcheck.configurations (
    id               uuid primary key,
    name             text not null check (char_length(name) between 1 and 200),
    name_key         text not null collate "C" unique,
    type             text not null,
    config           jsonb not null,
    interval_seconds integer not null check (interval_seconds between 1 and 2592000),
    timeout_ms       integer not null check (timeout_ms between 100 and 120000),
    created_at       timestamptz not null default now(),
    updated_at       timestamptz not null default now()
);

-- An assignment is a check of one system, and its own timetable. next_run_at is the rhythm: the next slot after the one that
-- was claimed last. due_at is when a scheduler has to look at the row: at the next slot, or, while a run is
-- under way under lease_id, at the moment when that run must be given up because its server is gone.
create table healthcheck.assignments (
    system_id        text not null,
    configuration_id uuid not null references healthcheck.configurations on delete cascade,
    enabled          boolean not null,
    next_run_at      timestamptz not null default now(),
    due_at           timestamptz not null default now(),
    lease_id         uuid,
    created_at       timestamptz not null default now(),
    primary key (system_id, configuration_id)
) with (fillfactor = 85);

create index assignments_due on healthcheck.assignments (due_at) where enabled;
create index assignments_configuration on healthcheck.assignments (configuration_id);

-- The last run of an assignment at each source, and since when its status has been the same.
create table healthcheck.states (
    system_id        text not null,
    configuration_id uuid not null,
    source_id        text not null,
    status           text not null check (status in ('healthy', 'degraded', 'unhealthy')),
    since            timestamptz not null,
    last_run_at      timestamptz not null,
    latency_ms       integer,
    message          text not null,
    run_id           uuid not null,
    primary key (system_id, configuration_id, source_id),
    foreign key (system_id, configuration_id) references healthcheck.assignments on delete cascade
) with (fillfactor = 85);

-- At most one row: the example that the first boot of an empty catalog made, or the fact that there was none to make.
create table healthcheck.demo (
    single           boolean primary key default true check (single),
    configuration_id uuid references healthcheck.configurations on delete set null,
    url              text
);
