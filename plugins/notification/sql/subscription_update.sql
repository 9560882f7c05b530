-- Replaces what can be set of a subscription, $1 to $3: the least severity, and who manages it.
with done as (
    update notification.subscriptions set min_severity = $2, managed_by = $3, updated_at = now() where id = $1 returning *
)
select s.id, s.channel_id, c.name, s.spec, p.target, s.resource, s.min_severity, s.managed_by, s.created_at, s.updated_at
from done s join notification.channels c on c.id = s.channel_id join notification.specs p on p.type = s.spec
