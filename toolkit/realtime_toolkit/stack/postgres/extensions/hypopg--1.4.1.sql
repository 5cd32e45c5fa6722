-- hypopg's entries: a stand-in of the local stack, where no plan with an index that is not there can be had.

create function hypopg_create_index(sql_order text) returns table (indexrelid oid, indexname text) language plpgsql as $$
begin
  raise feature_not_supported using message = 'hypopg is a stand-in of the local stack: no index is planned with';
end
$$;
create function hypopg_drop_index(indexid oid) returns boolean language sql as $$ select false $$;
create function hypopg_reset() returns void language sql as $$ $$;
create view hypopg_list_indexes as
  select null::oid as indexrelid, null::text as index_name, null::name as schema_name, null::name as table_name,
    null::name as am_name where false;
