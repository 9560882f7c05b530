-- Gives the subscriptions that a document, $1, manages to people: the one with the ID $2, those of the channel $3, or, where both
-- are null, all of them. A repeat changes nothing.
update notification.subscriptions
set managed_by = null
where managed_by = $1 and ($2::uuid is null or id = $2) and ($3::uuid is null or channel_id = $3)
