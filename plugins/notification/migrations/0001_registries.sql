-- Targets are the kinds of things people can be told about, specs are what they can be told about them. Both are kept
-- so that what refers to them stays readable while the plugin that owns them is taken out.
create table notification.targets (
    type        text primary key,
    name        text not null,
    description text not null,
    owner       text not null, -- the ID of the plugin that registered it last
    updated_at  timestamptz not null default now()
);

create table notification.specs (
    type        text primary key,
    target      text not null references notification.targets (type),
    name        text not null,
    description text not null,
    owner       text not null,
    updated_at  timestamptz not null default now()
);

create index specs_target on notification.specs (target);
