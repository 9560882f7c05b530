-- Makes the database :"name", empty and with the same locale wherever it is. Quoted identifiers as in psql.
CREATE DATABASE :"name" TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
