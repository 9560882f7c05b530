-- Records that a migration was applied. A second time is an error of the key.
INSERT INTO checkstack.migrations (plugin, file, checksum) VALUES ($1, $2, $3);
