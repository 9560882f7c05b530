-- When a batch of a journal was last applied, so that those that nobody uses any more can be forgotten. No index: it is
-- asked for within one satellite, and only when that has very many.
alter table satellite.journals add column used_at timestamptz not null default now();
