-- Puts a configuration that was sealed anew, $3, in the place of the old one, $2, unless somebody has changed it. A repeat changes
-- nothing.
update notification.channels set config = $3 where id = $1 and config = $2
