-- What is asked by default: whether the server answers at all.
select 1
