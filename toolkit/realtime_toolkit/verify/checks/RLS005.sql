-- RLS005: A policy reads a table, or calls a function, that its role cannot
-- A subquery in a policy runs with the rights of whoever asks. Without SELECT on the other table it raises 42501, and one
-- raising policy loses Realtime's whole poll batch, for everybody. With RLS on there and no policy for the role it finds
-- nothing, so the policy is silently false and nobody receives anything.
with looked_into as (
  select distinct p.policy, p.relid, p.name, p.fqn, p.cmd, p.roles, d.refobjid as other, c.oid::regclass::text as other_name, c.relname as other_table,
    c.relrowsecurity as other_rls, c.relnamespace as other_schema,
    c.relnamespace in (select oid from own_schema) as ours
  from (
    select policy, relid, name, fqn, cmd, roles, permissive from policy
    union all
    select policy, (select oid from message_table), name, 'realtime.messages', cmd, roles, permissive from channel_policy
  ) as p
  join pg_depend d on d.classid = 'pg_policy'::regclass and d.objid = p.policy and d.refclassid = 'pg_class'::regclass
  join pg_class c on c.oid = d.refobjid
  where d.refobjid <> p.relid and c.relkind in ('r', 'p', 'v', 'm', 'f') and p.permissive
),
asked as (
  select l.*, r.role, r.role_name, (l.relid, r.role) in (select relid, role from open_read) as folded,
    not has_schema_privilege(r.role, l.other_schema, 'usage') or exists (
      select from pg_depend d
      where d.classid = 'pg_policy'::regclass and d.objid = l.policy and d.refclassid = 'pg_class'::regclass
        and d.refobjid = l.other and d.refobjsubid > 0 and not has_column_privilege(r.role, l.other, d.refobjsubid::int2, 'select')
    ) or not has_any_column_privilege(r.role, l.other, 'select') as raises,
    l.other_rls and not exists (
      select from pg_policy s
      where s.polrelid = l.other and s.polpermissive and s.polcmd in ('r', '*')
        and exists (select from unnest(s.polroles) q where q = 0 or pg_has_role(r.role, q, 'usage'))
    ) as blind
  from looked_into l
  join lateral (
    select a.role, a.name as role_name from api a
    where exists (select from unnest(l.roles) q where q = 0 or pg_has_role(a.role, q, 'usage'))
  ) as r on true
  join pg_class t on t.oid = l.relid
  where t.relrowsecurity and has_schema_privilege(r.role, t.relnamespace, 'usage')
    and case l.cmd
      when 'r' then has_any_column_privilege(r.role, l.relid, 'select')
      when 'a' then has_any_column_privilege(r.role, l.relid, 'insert')
      when 'w' then has_any_column_privilege(r.role, l.relid, 'update')
      when 'd' then has_table_privilege(r.role, l.relid, 'delete')
      else has_any_column_privilege(r.role, l.relid, 'select, insert, update')
    end
    -- Beside a policy that is always true the planner leaves it out of reading.
    and not (l.cmd = 'r' and (l.relid, r.role) in (select relid, role from open_read))
)
select
  'RLS005' as code, case when bool_and(folded) then 'warning' else 'error' end as level, format('policy %I on %s', name, fqn) as object,
  format('The policy %I on %s reads %s, %s', name, fqn, other_name,
    case when bool_or(raises)
      then format('on which %s has no SELECT privilege: every %s.',
        string_agg(role_name, ', ' order by role_name) filter (where raises),
        case when bool_and(folded) then 'write under it raises 42501' else
          'query under it raises 42501, and Realtime loses the whole batch' end)
      else format('where no policy lets %s read: the policy is silently false.', string_agg(role_name, ', ' order by role_name))
    end) as detail,
  case
    when not bool_or(ours)
      then format('-- ask %s in a function of your own: create function … returns boolean language sql stable security definer '
        'set search_path = '''' as …;', other_name)
    else concat_ws(' ',
      case when bool_or(raises) then format('grant select on %s to %s;', other_name,
        string_agg(quote_ident(role_name), ', ' order by role_name) filter (where raises)) end,
      case when bool_and(blind) then format('create policy %I on %s for select to %s using (/* the rows the user may know of */);',
        other_table || '_select', other_name, string_agg(quote_ident(role_name), ', ' order by role_name)) end)
  end as fix,
  fqn || ' ' || name || ' ' || other_name as fingerprint
from asked
group by policy, name, fqn, other, other_name, other_table
-- One role that cannot is wrong where it raises; being blind is wrong only if nobody is left who sees.
having bool_or(raises) or bool_and(blind)
union all
select
  'RLS005', case when bool_and(o.folded) then 'warning' else 'error' end, format('policy %I on %s', p.name, p.fqn),
  format('The policy %I on %s calls %s.%I(), which %s may not execute: every %s.', p.name, p.fqn, f.schema, f.name,
    string_agg(r.role_name, ', ' order by r.role_name),
    case when bool_and(o.folded) then 'write under it raises 42501' else
      'query under it raises 42501, and Realtime loses the whole batch' end),
  format('grant execute on function %s to %s;', f.function::regprocedure, string_agg(quote_ident(r.role_name), ', ' order by r.role_name)),
  p.fqn || ' ' || p.name || ' ' || f.function::regprocedure
from policy p join policy_function f using (policy) join policy_role r using (policy)
join own_table t on t.relid = p.relid
cross join lateral (
  select p.permissive and (p.relid, r.role) in (select relid, role from open_read) as folded
) as o
where t.rls and not (o.folded and p.cmd = 'r') and not has_function_privilege(r.role, f.function, 'execute')
  and has_schema_privilege(r.role, t.schema, 'usage') and has_any_column_privilege(r.role, p.relid, 'select, insert, update')
  -- A policy for everybody may call what only some may, as long as the others have no right on the table at all.
group by p.policy, p.name, p.fqn, f.function, f.schema, f.name
