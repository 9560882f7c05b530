-- Holds the log until the end of the transaction, so that positions become visible in their order: whoever sees one sees
-- all smaller ones too.
select from signals.log for update
