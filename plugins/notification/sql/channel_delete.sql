-- Ends a channel, $1, with its subscriptions and what is still to be sent through it, and says how many these were.
with counted as (
    select (select count(*) from notification.subscriptions where channel_id = $1) as subscriptions,
        (select count(*) from notification.deliveries where channel_id = $1 and state = 'pending') as pending
)
delete from notification.channels c
using counted
where c.id = $1
returning counted.subscriptions, counted.pending
