-- The settings of a migrating transaction: no statement is too long, a wait for another transaction's lock is ended before the
-- requests that queue behind it pile up, and names without a schema mean nothing.
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0;
SET LOCAL search_path = '';
