-- RLS010: A constant-true policy makes the others void
-- Permissive policies are joined with OR: beside one that is always true, the one that asks who you are decides nothing. A
-- constant-true policy for UPDATE, DELETE or ALL lets every user change every row; for INSERT, a row in anybody's name.
-- A table that everybody may read (one open SELECT policy, no personal one for SELECT) is a decision and not judged.
with always as (
  select p.*, r.role_name from policy p join policy_role r using (policy)
  join own_table t on t.relid = p.relid
  where t.rls and p.permissive
    and (0 = any (p.roles) or r.role = any (p.roles))  -- of a role that clients inherit ROL001 tells
    and (case when p.cmd = 'a' then p.wcheck else p.qual end) ~* '^\(*true\)*$|^\(*(\d+|''[^'']*''::\w+) = \1\)*$|\mOR true\M|\(true OR\M'
)
select
  'RLS010' as code, 'error' as level, format('policy %I on %s', a.name, a.fqn) as object,
  case a.cmd
    when 'r' then format('The SELECT policy %I on %s is always true for %s, so the policies beside it that ask who is reading '
      'decide nothing: everybody reads and receives every row.', a.name, a.fqn, string_agg(a.role_name, ', ' order by a.role_name))
    else format('The policy %I on %s is always true: every %s can %s any row, whosever it is.', a.name, a.fqn,
      string_agg(a.role_name, ', ' order by a.role_name),
      case a.cmd when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'read and write' end)
  end as detail,
  format('drop policy %I on %s;', a.name, a.fqn) as fix,
  a.fqn || ' ' || a.name as fingerprint
from always a
where a.cmd in ('w', 'd', '*')
  or (a.cmd = 'r' and (a.qual ~* '\mOR true\M|\(true OR\M' or exists (
    select from policy s join policy_role q using (policy)
    where s.relid = a.relid and s.permissive and s.cmd = 'r' and q.role_name = a.role_name
      and s.policy in (select policy from personal))))
  or (a.cmd = 'a' and (
    exists (select from filter_column f where f.relid = a.relid)
    -- A row in somebody's name, or on a parent that is not everybody's.
    or exists (select from own_column c join pg_attrdef d on d.adrelid = c.relid and d.adnum = c.attnum
               where c.relid = a.relid and pg_get_expr(d.adbin, d.adrelid) ~ 'auth\.uid\(\)')
    or exists (select from pg_constraint k where k.conrelid = a.relid and k.contype = 'f' and (
      k.confrelid::regclass::text = 'auth.users'
      or exists (select from policy o where o.relid = k.confrelid and o.policy in (select policy from personal))))))
group by a.policy, a.name, a.fqn, a.cmd
