-- Sets the title, $2, and the severity, $3, of an incident, $1.
update incident.incidents set title = $2, severity = $3, updated_at = clock_timestamp() where id = $1
