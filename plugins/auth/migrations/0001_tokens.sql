-- API tokens. The token itself is not kept: only its SHA-256, by which it is found. A revoked token stays, to show who
-- had what.
create table auth.tokens (
    id           uuid primary key,
    hash         bytea not null unique check (octet_length(hash) = 32),
    name         text not null check (char_length(name) between 1 and 200),
    role         text not null check (role in ('admin', 'editor', 'viewer')),
    created_at   timestamptz not null default now(),
    last_used_at timestamptz,
    expires_at   timestamptz,
    revoked_at   timestamptz
);

create index tokens_created on auth.tokens (created_at, id);
