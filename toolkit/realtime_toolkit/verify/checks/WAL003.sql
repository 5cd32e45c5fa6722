-- WAL003: A wall that stands for some commands only
-- A restrictive policy takes away what the others allow, for its own command. One for SELECT keeps nobody from writing: an INSERT
-- asks for no row that is there, and UPDATE and DELETE are held only as far as they look for rows.
with command (cmd, what) as (
  values ('r'::"char", 'SELECT'), ('a', 'INSERT'), ('w', 'UPDATE'), ('d', 'DELETE')
),
wall as (  -- about the caller alone, or comparing a column with the caller; not what hides some rows from everybody
  select p.*, r.role, r.role_name, array(
      select c.attnum from own_column c join pg_depend d on d.refobjid = c.relid and d.refobjsubid = c.attnum
      where d.classid = 'pg_policy'::regclass and d.objid = p.policy and d.refclassid = 'pg_class'::regclass and c.relid = p.relid
        and coalesce(p.qual, p.wcheck) ~ format($re$%s\)*(::[a-z ]+)?\)* (= |IN \()|= ANY \(|= \(*%s|\w\.\w+"?\([^()]*%s$re$, c.pattern, c.pattern, c.pattern)
    ) as compared, exists (
      select from pg_depend d where d.classid = 'pg_policy'::regclass and d.objid = p.policy and d.refclassid = 'pg_class'::regclass
        and d.refobjid = p.relid and d.refobjsubid > 0
    ) as of_rows
  from policy p join policy_role r using (policy)
  where not p.permissive and p.policy in (select policy from personal)
    and coalesce(p.qual, p.wcheck) !~ '^\(*NOT \(*(EXISTS|\()|<> ALL'
),
reading as (
  select w.* from wall w where w.cmd = 'r' and (not w.of_rows or w.compared <> '{}')
),
gap as (
  select w.policy, w.relid, w.fqn, w.name, w.qual, w.role, w.role_name, k.cmd, k.what, w.compared, w.of_rows
  from reading w join command k on k.cmd <> 'r'
  where case k.cmd
      when 'a' then has_any_column_privilege(w.role, w.relid, 'insert')
      when 'w' then has_any_column_privilege(w.role, w.relid, 'update')
      else has_table_privilege(w.role, w.relid, 'delete') end
    and not exists (
      select from policy o join policy_role q using (policy)
      where o.relid = w.relid and not o.permissive and o.cmd in (k.cmd, '*') and q.role = w.role
    )
    -- A policy for that command which does not ask the same by itself.
    and exists (
      select from policy o join policy_role q using (policy)
      where o.relid = w.relid and o.permissive and o.cmd in (k.cmd, '*') and q.role = w.role
        and position(btrim(w.qual, '()') in case when k.cmd = 'a' then coalesce(o.wcheck, o.qual) else o.qual end) = 0
        and not exists (
          select from pg_depend d where d.classid = 'pg_policy'::regclass and d.objid = o.policy and d.refclassid = 'pg_class'::regclass
            and d.refobjid = o.relid and d.refobjsubid = any (w.compared)
        )
    )
)
select
  'WAL003' as code, 'error' as level, format('policy %I on %s', g.name, g.fqn) as object,
  format('The restrictive policy %I on %s is for SELECT only: for %s by %s nothing takes away what the other policies allow.', g.name, g.fqn,
    string_agg(distinct g.what, ', '), string_agg(distinct g.role_name, ' and ')) as detail,
  (select string_agg(format('create policy %I on %s as restrictive for %s to %s%s%s;', g.name || '_' || lower(k.what), g.fqn, lower(k.what),
      (select string_agg(coalesce(quote_ident(o.rolname), 'public'), ', ') from pg_policy p cross join unnest(p.polroles) u left join pg_roles o on o.oid = u where p.oid = g.policy),
      case when k.cmd <> 'a' then ' using (' || g.qual || ')' else '' end, case when k.cmd <> 'd' then ' with check (' || g.qual || ')' else '' end), ' ' order by k.what)
   from command k where k.cmd = any (array_agg(distinct g.cmd))) as fix,
  g.fqn || ' ' || g.name as fingerprint
from gap g
group by g.policy, g.name, g.fqn, g.qual
