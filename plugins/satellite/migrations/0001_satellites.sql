-- Satellites: what runs checks elsewhere and reports here. A token is not kept: only its SHA-256, by which the
-- satellite is found. A name is taken whatever its case: name_key is the name with its case folded by the server, and
-- so the same in every locale. last_seen_at and all that a heartbeat tells move often, so none of it is in an index.
create table satellite.satellites (
    id                    uuid primary key,
    name                  text not null check (char_length(name) between 1 and 200),
    name_key              text not null collate "C" unique,
    region                text not null check (char_length(region) <= 200),
    offline_after_seconds integer not null check (offline_after_seconds between 30 and 86400),
    token_hash            bytea not null unique check (octet_length(token_hash) = 32),
    token_created_at      timestamptz not null default now(),
    created_at            timestamptz not null default now(),
    last_seen_at          timestamptz,                      -- the last heartbeat or runs; null before the first
    offline_since         timestamptz default now(),        -- null while it is online; it begins offline

    -- What it said of itself in its last heartbeat.
    version               text not null default '',
    started_at            timestamptz,
    skew_ms               bigint,                           -- its clock less the database's
    checks                bigint not null default 0,
    pending_runs          bigint not null default 0,
    pending_bytes         bigint not null default 0,
    dropped               bigint not null default 0,

    check (last_seen_at is not null or offline_since is not null)
) with (fillfactor = 85);

-- The highest number of a batch that was applied, for each journal of a satellite. '' is the journal of batches that
-- name none.
create table satellite.journals (
    satellite_id uuid not null references satellite.satellites on delete cascade,
    journal      text not null check (char_length(journal) <= 36),
    batch        bigint not null check (batch > 0),
    primary key (satellite_id, journal)
) with (fillfactor = 85);

-- One row: when a server last looked for satellites that are overdue, and the last time in which none did. What a
-- satellite could not tell anybody then does not count as silence.
create table satellite.watch (
    single     boolean primary key default true check (single),
    looked_at  timestamptz not null default now(),
    away_from  timestamptz not null default now(),
    away_until timestamptz not null default now()
) with (fillfactor = 50);

insert into satellite.watch default values;
