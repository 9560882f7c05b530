-- Holds a channel, $1, alone: waits for all who subscribe it or hand notices on to it, and makes all others wait until the transaction
-- ends.
select true from notification.channels where id = $1 for update
