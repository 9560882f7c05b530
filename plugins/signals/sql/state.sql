-- The greatest position that was given, and the one up to which events are gone.
select newest, trimmed from signals.log
