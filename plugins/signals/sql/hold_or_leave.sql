-- Holds the log as hold.sql does, or returns no row if somebody else does.
select true from signals.log for update skip locked
