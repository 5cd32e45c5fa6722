-- SELECT policies with a condition that may be one that never holds; goes after the relations of checks/_facts.sql.
-- A partition has the policies of its root, of which each is about some partitions only; false on its own is no mistake.
select p.fqn, p.name, p.permissive, p.qual, array(select r.role_name::text from policy_role r where r.policy = p.policy)
from policy p join own_table t using (relid)
where t.rls and t.kind = 'r' and not t.is_partition and p.cmd in ('r', '*')
  and exists (select from policy_role r where r.policy = p.policy)
  and p.qual !~* '^\(*(false|null::boolean|\d+ = \d+)\)*$'
  and (
    p.qual ~ 'NULL::|\mIS NULL\M|''(aal|role|is_anonymous)''|auth\.role\(\)'
    or p.qual ~ '''|\d' and exists (
      select from pg_constraint k join own_column c on c.relid = k.conrelid and c.attnum = any (k.conkey)
      where k.conrelid = p.relid and k.contype = 'c' and p.qual ~ c.pattern)
  )
order by p.fqn, p.name
