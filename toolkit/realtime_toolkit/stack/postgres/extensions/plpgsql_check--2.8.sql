-- plpgsql_check's entries: an error, for no rows would mean that there is nothing to find.

create function plpgsql_check_function(
  funcoid regprocedure, relid regclass default 0, format text default 'text', fatal_errors boolean default true,
  other_warnings boolean default true, performance_warnings boolean default false, extra_warnings boolean default true
) returns setof text language plpgsql as $$
begin
  raise feature_not_supported using message = 'plpgsql_check is a stand-in of the local stack: nothing is checked';
end
$$;
create function plpgsql_check_function(
  name text, relid regclass default 0, format text default 'text', fatal_errors boolean default true,
  other_warnings boolean default true, performance_warnings boolean default false, extra_warnings boolean default true
) returns setof text language plpgsql as $$
begin
  raise feature_not_supported using message = 'plpgsql_check is a stand-in of the local stack: nothing is checked';
end
$$;
