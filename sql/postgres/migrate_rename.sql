-- Gives the schema :"old" the name :"new". Both stand for a quoted identifier, as in psql.
ALTER SCHEMA :"old" RENAME TO :"new";
