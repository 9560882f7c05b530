-- Ways to tell people. The configuration has passwords and addresses that are as good as one, so all of it is sealed for
-- the channel, and destination is what of it may be shown. A server that sends through a channel holds it until leased_until;
-- due_at is when it may be tried again after a try that failed.
create table notification.channels (
    id            uuid primary key,
    name          text not null check (char_length(name) between 1 and 200),
    name_key      text not null collate "C" unique, -- the name with its case folded by the server
    type          text not null check (char_length(type) between 1 and 40),
    config        text not null,
    destination   text not null,
    enabled       boolean not null,
    managed_by    text check (char_length(managed_by) between 1 and 200),
    due_at        timestamptz not null default now(),
    leased_until  timestamptz not null default now(),
    failures      integer not null default 0, -- tries in a row that failed
    failing_since timestamptz,
    error         text, -- of the last one
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now(),
    check ((failures = 0) = (failing_since is null) and (failures = 0) = (error is null))
);

create index channels_managed on notification.channels (managed_by) where managed_by is not null;

-- Which notices go through a channel: those of a spec about one resource or, where that is empty, about any.
create table notification.subscriptions (
    id           uuid primary key,
    channel_id   uuid not null references notification.channels on delete cascade,
    spec         text not null references notification.specs (type),
    resource     text not null,
    min_severity text not null check (min_severity in ('info', 'warning', 'critical')),
    managed_by   text check (char_length(managed_by) between 1 and 200),
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now(),
    unique (channel_id, spec, resource)
);

create index subscriptions_spec on notification.subscriptions (spec, resource);
create index subscriptions_managed on notification.subscriptions (managed_by) where managed_by is not null;

-- thread tells the things apart that can be wrong with a resource, so that the end of one is told to those who were told of
-- it; resource_name is how the resource was called when the notice was handed on to the channels, which was at handed_at.
-- What was posted before there were channels is for none.
alter table notification.notices
    add column thread text not null default '' check (char_length(thread) <= 200),
    add column resource_name text,
    add column handed_at timestamptz;

update notification.notices set handed_at = now();

create index notices_waiting on notification.notices (id) where handed_at is null;
create index notices_thread on notification.notices (spec, resource, thread, id);

-- What a spec covers: who subscribed to one about groups is told of what another one says of their systems. It is kept, so that
-- nobody misses anything because a plugin that registers both of them boots or stops at that moment.
alter table notification.specs add column covers text not null default '';

-- What goes, or went, through a channel: one for each notice, however many subscriptions it is for. Those of a channel are sent
-- in the order of their IDs. Who has a key to a delivery twice is told nothing twice: uuid is the same at every try.
create table notification.deliveries (
    id         bigint generated always as identity primary key,
    uuid       uuid not null default gen_random_uuid(),
    notice_id  bigint not null references notification.notices on delete cascade,
    channel_id uuid not null references notification.channels on delete cascade,
    state      text not null default 'pending' check (state in ('pending', 'delivered', 'refused', 'expired')),
    attempts   integer not null default 0,
    error      text, -- of the last try, if it failed
    created_at timestamptz not null default now(),
    ended_at   timestamptz,
    unique (notice_id, channel_id),
    check ((state = 'pending') = (ended_at is null))
);

create index deliveries_pending on notification.deliveries (channel_id, id) where state = 'pending';
create index deliveries_channel on notification.deliveries (channel_id, id desc);
create index deliveries_lost on notification.deliveries (state, id desc) where state in ('refused', 'expired');
