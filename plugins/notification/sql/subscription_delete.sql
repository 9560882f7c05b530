-- Ends a subscription, $1.
delete from notification.subscriptions where id = $1
