-- Makes whoever applies or releases a document take turns, also on other servers, until their transaction ends.
select pg_advisory_xact_lock(hashtextextended('checkstack apply.documents', 0))
