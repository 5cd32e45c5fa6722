-- The functions of the user's own, and which of them clients may call; goes after the relations of checks/_facts.sql.
select coalesce(json_agg(json_build_object(
  'signature', r.signature, 'call', format('%I.%I', r.schema, r.name), 'name', r.name, 'language', r.language, 'definer', r.definer,
  'source', r.source, 'returns', format_type(f.prorettype, null), 'many', f.proretset or t.typtype = 'c' or f.prorettype in ('record'::regtype, 'json'::regtype, 'jsonb'::regtype),
  'roles', (select coalesce(json_agg(c.role_name order by c.role_name), '[]') from callable c
    where c.function = r.function and f.prokind = 'f'
      -- Not those that FUN006 tells about: they were meant to be shut out, and are named nowhere.
      and (exists (select from aclexplode(r.acl) x where x.grantee = c.role)
        or not exists (select from aclexplode(r.acl) x join pg_roles g on g.oid = x.grantee
          where g.rolname in ('anon', 'authenticated', 'service_role')))),
  'parameters', (
    select coalesce(json_agg(json_build_object(
      'name', coalesce(f.proargnames[a.place], ''), 'type', format_type(a.type, null),
      'base', coalesce(nullif(y.typbasetype, 0), y.oid)::regtype::text, 'kind', y.typtype,
      'labels', (select coalesce(json_agg(e.enumlabel order by e.enumsortorder), '[]') from pg_enum e where e.enumtypid = y.oid),
      'optional', a.number > f.pronargs - f.pronargdefaults) order by a.number), '[]')
    from (
      select u.type, u.place, row_number() over (order by u.place) as number
      from unnest(coalesce(f.proallargtypes, f.proargtypes::oid[])) with ordinality as u (type, place)
      where coalesce(f.proargmodes[u.place], 'i') in ('i', 'b', 'v')
    ) as a
    join pg_type y on y.oid = a.type)
) order by r.signature), '[]')::text
from routine r join pg_proc f on f.oid = r.function join pg_type t on t.oid = f.prorettype
