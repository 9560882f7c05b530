-- Says on which channels this session is to listen, a JSON array of their names, for listen.sql.
select set_config('checkstack.channels', $1, false)
