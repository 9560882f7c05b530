-- Notes how many things of each kind a document, $1, manages: $2 to $8.
update apply.documents
set systems = $2, groups = $3, checks = $4, satellites = $5, assignments = $6, channels = $7, subscriptions = $8
where name_key = $1
