-- pg_tle's entries: a stand-in of the local stack, where no extension can be made out of text.

create schema pgtle;
create function pgtle.available_extensions() returns table (name name, default_version text, comment text) language sql as $$
  select null::name, null::text, null::text where false
$$;
create function pgtle.install_extension(name text, version text, description text, ext text, requires text[] default null)
  returns boolean language plpgsql as $$
begin
  raise feature_not_supported using message = format('pg_tle is a stand-in of the local stack: extension %s is not installed', name);
end
$$;
create function pgtle.uninstall_extension_if_exists(extname text) returns boolean language sql as $$ select false $$;
