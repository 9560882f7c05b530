-- The documents of configuration as code that were applied, and when, and by whom. What they say is not kept: the things they
-- manage have the name of the document, in the tables of their own plugins. A name is taken whatever its case: name_key is
-- the name with its case folded by the server, and so the same in every locale.
create table apply.documents (
    name_key   text not null collate "C" primary key,
    name       text not null check (char_length(name) between 1 and 200),
    applied_at timestamptz not null default now(),
    changed_at timestamptz not null default now(), -- when applying it last changed anything
    by_id      text,                               -- who applied it; null: a server, when it booted
    by_name    text,

    -- How many things it managed then.
    systems     integer not null,
    groups      integer not null,
    checks      integer not null,
    satellites  integer not null,
    assignments integer not null,

    check ((by_id is null) = (by_name is null))
);
