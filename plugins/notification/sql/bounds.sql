-- How many channels and subscriptions there are, as the transaction sees them.
select (select count(*) from notification.channels), (select count(*) from notification.subscriptions)
