-- Makes whoever registers a satellite take turns, also on other servers, until their transaction ends.
select pg_advisory_xact_lock(hashtextextended('checkstack satellite.satellites', 0))
