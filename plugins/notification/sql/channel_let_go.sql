-- Lets go of a channel, $1, that is held until $2. Those that were due before get their turn first.
update notification.channels set leased_until = now(), due_at = now() where id = $1 and leased_until = $2
