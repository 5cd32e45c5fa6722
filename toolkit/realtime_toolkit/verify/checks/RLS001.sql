-- RLS001: Row level security is off on a table that clients can reach
-- Anyone with the public key then reads or writes every row over REST, and every subscriber receives every change.
-- A partition counts too: the policies of its root do not apply to whoever names the partition itself, and Realtime does.
with reach as (
  select t.relid, a.name as role_name, array_remove(array[
    case when has_any_column_privilege(a.role, t.relid, 'select') then 'select' end,
    case when has_any_column_privilege(a.role, t.relid, 'insert') then 'insert' end,
    case when has_any_column_privilege(a.role, t.relid, 'update') then 'update' end,
    case when has_table_privilege(a.role, t.relid, 'delete') then 'delete' end], null) as commands
  from own_table t, api a
  where has_schema_privilege(a.role, t.schema, 'usage')
)
select
  'RLS001' as code, 'error' as level, t.fqn as object,
  format('Row level security is off on %s%s: %s%s.%s', t.fqn,
    case when t.is_partition then ', a partition (the policies of its root do not apply when it is named itself)' else '' end,
    string_agg(format('%s can %s any row', r.role_name, array_to_string(r.commands, ', ')), '; ' order by r.role_name),
    case when t.relid in (select relid from published) then ', and every subscriber receives every change' else '' end,
    case when exists (select from policy p where p.relid = t.relid) then ' Its policies have no effect.' else '' end) as detail,
  format('alter table %s enable row level security;', t.fqn) as fix,
  t.fqn as fingerprint
from own_table t join reach r using (relid)
where not t.rls and r.commands <> '{}'
group by t.relid, t.fqn, t.is_partition
