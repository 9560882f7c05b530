-- Forgets up to 10,000 notices that are older than 90 days.
delete from notification.notices
where id in (select id from notification.notices where created_at < now() - interval '90 days' order by created_at limit 10000)
