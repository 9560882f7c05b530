-- Gives to people what a document owns: one configuration, or all.
update healthcheck.configurations set managed_by = null where managed_by = $1::text and ($2::uuid is null or id = $2::uuid)
