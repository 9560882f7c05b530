-- Reads how long one check of one system is kept. No row: as the defaults say.
-- $1 system, $2 configuration
select raw_days, hourly_days, daily_days
from checkstack.health_check_retention
where system_id = $1 and configuration_id = $2
