-- SELECT policies with a condition that may be one that never holds; goes after the relations of checks/_facts.sql.
-- A partition has the policies of its root, of which each is about some partitions only; false on its own is no mistake.
select p.fqn, p.name, p.permissive, p.qual,
  array(select r.role_name::text from policy_role r where r.policy = p.policy) as roles,
  -- The server needs no policy: one for it alone lets nobody hear of a published table.
  p.relid in (select relid from published) and not exists (
    select from policy o join policy_role r using (policy)
    where p.permissive and o.relid = p.relid and o.policy <> p.policy and o.permissive and o.cmd in ('r', '*')) as alone,
  -- Columns that can have a few values only: labels of an enum, a CHECK that lists them.
  (select jsonb_agg(jsonb_build_object('name', quote_ident(c.name), 'type', format_type(c.type, c.typmod), 'values', v.list))
   from own_column c
   cross join lateral (
     select coalesce(
       (select jsonb_agg(e.enumlabel) from pg_enum e where e.enumtypid = c.type),
       (select jsonb_agg(m[1]) from pg_constraint k
        cross join lateral regexp_matches(pg_get_constraintdef(k.oid), '''([^'']*)''', 'g') m
        where k.conrelid = c.relid and k.contype = 'c' and k.convalidated and k.conkey = array[c.attnum]
          and pg_get_constraintdef(k.oid) ~ '^CHECK \(\(\(*("[^"]+"|\w+)\)*(::text)? = ANY \(\(*ARRAY\[[^]]*\][^]]*$')) as list
   ) as v
   where c.relid = p.relid and v.list is not null and p.qual ~ c.pattern) as listed
from policy p join own_table t using (relid)
where t.rls and t.kind = 'r' and not t.is_partition and p.cmd in ('r', '*')
  and exists (select from policy_role r where r.policy = p.policy)
  and p.qual !~* '^\(*(false|null::boolean|\d+ = \d+)\)*$'
  and (
    p.qual ~ 'NULL::|\mIS NULL\M|''(aal|role|is_anonymous)''|auth\.role\(\)|CURRENT_USER'
    or p.qual ~ '''|\d' and exists (
      select from own_column c join pg_type y on y.oid = c.type
      where c.relid = p.relid and p.qual ~ c.pattern and (y.typtype = 'e' or exists (
        select from pg_constraint k where k.conrelid = c.relid and k.contype = 'c' and c.attnum = any (k.conkey))))
  )
order by p.fqn, p.name
