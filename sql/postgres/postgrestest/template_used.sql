-- Notes in the comment of the database :"name", a quoted identifier, that it was used at :'now', a quoted text, both as in psql.
COMMENT ON DATABASE :"name" IS :'now';
