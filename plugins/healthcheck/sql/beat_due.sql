-- A target has reported: the next report is due after the interval and the timeout. A repeat does no harm.
update healthcheck.assignments a
set next_run_at = now() + make_interval(secs => c.interval_seconds + c.timeout_ms / 1000.0),
    due_at = now() + make_interval(secs => c.interval_seconds + c.timeout_ms / 1000.0),
    lease_id = null
from healthcheck.configurations c
where a.system_id = $1::text and a.configuration_id = $2::uuid and c.id = a.configuration_id
