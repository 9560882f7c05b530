-- Makes servers take turns at handing on notices until their transaction ends: so a channel has them in their order.
select pg_advisory_xact_lock(hashtextextended('checkstack notification.notices', 0))
