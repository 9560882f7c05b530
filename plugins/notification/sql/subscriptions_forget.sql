-- Ends the subscriptions to a resource, $2, of a target, $1, which is no more.
delete from notification.subscriptions s
using notification.specs p
where p.type = s.spec and p.target = $1 and s.resource = $2
