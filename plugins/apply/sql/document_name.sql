-- The name of the document with a folded name, $1, as it was first applied.
select name from apply.documents where name_key = $1
