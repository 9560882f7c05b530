-- The server's version as a number: 150014 is 15.14.
SHOW server_version_num;
