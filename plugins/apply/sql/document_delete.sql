-- Forgets a document, $1, that manages nothing any more.
delete from apply.documents where name_key = $1
