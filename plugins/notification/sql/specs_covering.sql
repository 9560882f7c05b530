-- The specs that cover another, with what they cover, whether or not a plugin here has registered them.
select type, target, covers from notification.specs where covers <> '' order by type
