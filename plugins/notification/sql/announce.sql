-- Tells all servers, when the transaction is committed, that there may be something to hand on or to send.
select pg_notify('notification_work', '')
