-- Events, in the order they are told in. One is published by inserting it without a position; it gets its position, greater
-- than all others, once its transaction has been committed.
create table signals.events (
    id       bigint generated always as identity primary key,
    position bigint unique, -- microseconds since 1970 when it took its place, or more, so that no two are the same
    name     text not null,
    public   boolean not null,
    data     json not null
);

create index events_waiting on signals.events (id) where position is null;

-- One row: who holds it gives positions, or takes old events away. A database that was made anew, or restored from an
-- earlier time, begins after the positions of the one before, because they follow the clock.
create table signals.log (
    only_row boolean primary key default true check (only_row),
    newest   bigint not null, -- the greatest position that was given
    trimmed  bigint not null, -- events up to this position are gone
    check (trimmed <= newest)
);

insert into signals.log (newest, trimmed)
select now, now
from (select (extract(epoch from clock_timestamp()) * 1000000)::bigint as now) clock;
