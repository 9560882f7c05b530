-- Makes the database :"name" as a copy of :"template", which nobody may be connected to. Quoted identifiers as in psql.
CREATE DATABASE :"name" TEMPLATE :"template";
