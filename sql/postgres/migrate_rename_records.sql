-- Moves what is recorded of a renamed plugin from its old ID, $1, to its new one, $2.
UPDATE checkstack.migrations SET plugin = $2 WHERE plugin = $1;
