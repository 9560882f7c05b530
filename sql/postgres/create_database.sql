-- The database of a private cluster. It is made by a server in single-user mode before the cluster is put in its place, so a
-- cluster that exists has it.
CREATE DATABASE checkstack;
