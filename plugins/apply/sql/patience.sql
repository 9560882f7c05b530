-- Lets the statements of this transaction, of which one waits for others to end, take as long as they need.
select set_config('statement_timeout', '0', true)
