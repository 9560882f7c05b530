-- Whether there is any token, valid or not.
select exists (select from auth.tokens)
