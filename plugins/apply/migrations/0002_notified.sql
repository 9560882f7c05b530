-- How many channels and subscriptions a document managed when it was last applied.
alter table apply.documents add column channels integer not null default 0;
alter table apply.documents add column subscriptions integer not null default 0;
