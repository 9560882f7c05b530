-- Locks a source for a report of its runs: it is not removed meanwhile, and reports of one source come one after the
-- other.
select id from healthcheck.sources where id = $1::text for no key update
