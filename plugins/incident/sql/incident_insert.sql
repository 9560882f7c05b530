-- Makes an incident, $1 to $3, that is being investigated.
insert into incident.incidents (id, title, severity, status, created_at, updated_at)
values ($1, $2, $3, 'investigating', now(), now())
