-- Gives a template that is whole its name. Until then it has the one it was built under, so a template with the right name is
-- a whole one. :"build" and :"name" are quoted identifiers, as in psql.
ALTER DATABASE :"build" RENAME TO :"name";
