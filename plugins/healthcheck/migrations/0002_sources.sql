-- Where checks are made. Besides this server, that is, all that share this database, there are other sources:
-- satellites. Whoever brings one, says here that it exists, what it is called, and, while it is away, since when: what
-- it saw last is not taken for how things are then.
create table healthcheck.sources (
    id            text primary key check (char_length(id) between 1 and 200 and id <> 'local'),
    name          text not null check (char_length(name) between 1 and 200),
    offline_since timestamptz
);

-- local: whether this server makes the check; next_run_at and due_at mean nothing otherwise. own_retention: whether the
-- history of the check is kept for another time than the default, which has to be put back when the assignment ends.
alter table healthcheck.assignments
    add column local boolean not null default true,
    add column own_retention boolean not null default false;

-- Of two indexes that begin with what is looked for, the planner may take either, above all while it has no statistics.
-- With the whole key in both it finds one row either way, where one configuration has thousands.
drop index healthcheck.assignments_due, healthcheck.assignments_configuration;
create index assignments_due on healthcheck.assignments (due_at) where enabled and local;
create index assignments_configuration on healthcheck.assignments (configuration_id, system_id);

-- The other sources that make a check.
create table healthcheck.assignment_sources (
    system_id        text not null,
    configuration_id uuid not null,
    source_id        text not null references healthcheck.sources on delete cascade,
    primary key (system_id, configuration_id, source_id),
    foreign key (system_id, configuration_id) references healthcheck.assignments on delete cascade
);

create index assignment_sources_source on healthcheck.assignment_sources (source_id, system_id, configuration_id);

-- A state belongs to a source that makes the check: it goes with that, and cannot come back without it. This server has
-- no row among the sources, so nothing is referred to where source_id is ''.
alter table healthcheck.states
    add column satellite_id text generated always as (nullif(source_id, '')) stored,
    add foreign key (system_id, configuration_id, satellite_id) references healthcheck.assignment_sources on delete cascade;
