-- Makes the schema :"new", which stands for a quoted identifier, as in psql.
CREATE SCHEMA :"new";
