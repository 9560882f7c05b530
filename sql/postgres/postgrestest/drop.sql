-- Removes the database :"name", a quoted identifier as in psql, and ends the connections to it.
DROP DATABASE IF EXISTS :"name" WITH (FORCE);
