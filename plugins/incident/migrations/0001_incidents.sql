-- Incidents, the systems each concerns, and everything that was done to it. Systems belong to the catalog: their IDs
-- are text here.
create table incident.incidents (
    id          uuid primary key,
    title       text not null check (char_length(title) between 1 and 200),
    severity    text not null check (severity in ('minor', 'major', 'critical')),
    status      text not null check (status in ('investigating', 'identified', 'monitoring', 'resolved')),
    created_at  timestamptz not null,
    updated_at  timestamptz not null,
    resolved_at timestamptz,
    check ((status = 'resolved') = (resolved_at is not null))
);

create index incidents_created on incident.incidents (created_at, id);
create index incidents_open on incident.incidents (created_at, id) where resolved_at is null;

create table incident.systems (
    incident_id uuid not null references incident.incidents (id) on delete cascade,
    system_id   text not null,
    primary key (incident_id, system_id)
);

create index systems_system on incident.systems (system_id);

create table incident.timeline (
    incident_id uuid not null references incident.incidents (id) on delete cascade,
    number      integer not null, -- 1, 2, 3, … within the incident
    at          timestamptz not null,
    kind        text not null check (kind in ('opened', 'update', 'edited', 'resolved')),
    author_id   text,             -- who did it, as auth knew them then
    author_name text,
    message     text not null,
    status      text,             -- the status from then on, if it was set
    changes     jsonb,            -- what an edit changed
    primary key (incident_id, number)
);
