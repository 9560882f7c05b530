-- Holds an incident, $1, alone until the transaction ends, so that its changes come one after the other.
select true from incident.incidents where id = $1 for update
