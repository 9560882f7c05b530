-- Locks the assignments that runs of the source $3 belong to, in the order of their key as keep.sql does, and returns
-- those that this source still has, with the same of each. An assignment that was changed while this waited is looked at
-- again, and so is its source.
select a.system_id, a.configuration_id, true, a.enabled and not a.held, a.thresholds, statement_timestamp()
from unnest($1::text[], $2::uuid[]) as u (system_id, configuration_id)
join healthcheck.assignments a on a.system_id = u.system_id and a.configuration_id = u.configuration_id
join healthcheck.assignment_sources s
    on s.system_id = a.system_id and s.configuration_id = a.configuration_id and s.source_id = $3::text
order by a.system_id, a.configuration_id
for no key update of a for key share of s
