-- Makes whoever makes the first token or revokes one take turns, also on other servers, until their transaction ends.
select pg_advisory_xact_lock(hashtextextended('checkstack auth.tokens', 0))
