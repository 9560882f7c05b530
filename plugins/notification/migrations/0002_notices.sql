-- What people are to be told. A notice is written by the transaction in which the thing itself happens, so that there is
-- one for each thing, whatever fails afterwards. event is the owner's word for that thing: it is told once.
create table notification.notices (
    id          bigint generated always as identity primary key,
    event       text not null unique check (char_length(event) between 1 and 1000),
    spec        text not null,
    target      text not null,
    resource    text not null,
    severity    text not null check (severity in ('critical', 'warning', 'info', 'recovered')),
    title       text not null check (char_length(title) between 1 and 500),
    message     text not null check (char_length(message) <= 4000),
    data        jsonb,
    created_at  timestamptz not null default now()
);

create index notices_resource on notification.notices (target, resource, id desc);
create index notices_created on notification.notices (created_at);
