-- Systems, groups of systems, and which system is in which group. A name is taken whatever its case: name_key is the
-- name with its case folded by the server, and so the same in every locale.
create table catalog.systems (
    id          uuid primary key,
    name        text not null check (char_length(name) between 1 and 200),
    name_key    text not null collate "C" unique,
    description text not null check (char_length(description) <= 2000),
    metadata    jsonb not null check (jsonb_typeof(metadata) = 'object'),
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now()
);

create table catalog.groups (
    id          uuid primary key,
    name        text not null check (char_length(name) between 1 and 200),
    name_key    text not null collate "C" unique,
    description text not null check (char_length(description) <= 2000),
    metadata    jsonb not null check (jsonb_typeof(metadata) = 'object'),
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now()
);

create table catalog.memberships (
    group_id  uuid not null references catalog.groups (id) on delete cascade,
    system_id uuid not null references catalog.systems (id) on delete cascade,
    primary key (group_id, system_id)
);

create index memberships_system on catalog.memberships (system_id);
