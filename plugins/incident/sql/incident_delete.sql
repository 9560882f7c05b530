-- Deletes an incident, $1, with its timeline.
delete from incident.incidents where id = $1
