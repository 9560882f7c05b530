-- The configurations of all channels, as they are stored.
select id, config from notification.channels order by id
