-- Makes the session listen on exactly the channels that listen_channels.sql has named, whatever is in their names. From the
-- end of this statement on, every notification on them is delivered.
do $$
declare
    wanted text[] := array(select jsonb_array_elements_text(current_setting('checkstack.channels')::jsonb));
    channel text;
begin
    for channel in select pg_listening_channels() except select unnest(wanted) loop
        execute format('unlisten %I', channel);
    end loop;
    for channel in select unnest(wanted) except select pg_listening_channels() loop
        execute format('listen %I', channel);
    end loop;
end
$$
