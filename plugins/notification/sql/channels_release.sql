-- Gives the channels that a document, $1, manages to people: the one with the ID $2, or, where that is null, all of them. A
-- repeat changes nothing.
update notification.channels
set managed_by = null
where managed_by = $1 and ($2::uuid is null or id = $2)
