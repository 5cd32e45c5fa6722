-- Permissive policies for whoever is signed in, with what each asks; goes after the relations of checks/_facts.sql.
select coalesce(json_agg(json_build_object(
  'name', p.name, 'table', p.fqn, 'command', p.cmd, 'qual', coalesce(p.qual, ''), 'wcheck', coalesce(p.wcheck, ''),
  'personal', p.policy in (select policy from personal),
  'everybody', exists (select from everybody_reads e where e.relid = p.relid and e.role = r.role),
  'columns', (
    select coalesce(json_agg(c.name order by c.attnum), '[]') from own_column c
    join pg_depend d on d.refobjid = c.relid and d.refobjsubid = c.attnum
    where d.classid = 'pg_policy'::regclass and d.objid = p.policy and d.refclassid = 'pg_class'::regclass and c.relid = p.relid)
) order by p.fqn, p.name), '[]')::text
from policy p join policy_role r using (policy) join own_table t on t.relid = p.relid
where p.permissive and t.rls and r.role_name = 'authenticated' and has_schema_privilege(r.role, t.schema, 'usage')
  and has_table_privilege(r.role, p.relid, 'select, insert, update, delete')
