-- RLS008: A view without security_invoker lets clients past the policies
-- Such a view reads with the rights of its owner, whom RLS does not bind: whoever may select from it sees every row. And a
-- view cannot be subscribed to, so a subscriber sees less than a reader of the view.
with views as (
  select c.oid, c.oid::regclass::text as fqn
  from pg_class c join own_schema s on s.oid = c.relnamespace
  where c.relkind = 'v'
    and not coalesce((select o.option_value::boolean from pg_options_to_table(c.reloptions) o where o.option_name = 'security_invoker'), false)
    and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
),
reached as (  -- through further views, whatever those are: they are read with the rights of the outermost one's owner
  select v.oid as view, d.refobjid as relation
  from views v join pg_rewrite r on r.ev_class = v.oid
  join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
  where d.refobjid <> v.oid
  union
  select h.view, d.refobjid
  from reached h join pg_class c on c.oid = h.relation and c.relkind = 'v' join pg_rewrite r on r.ev_class = c.oid
  join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
  where d.refobjid <> c.oid
)
select
  'RLS008' as code, 'error' as level, v.fqn as object,
  format('The view %s has no security_invoker: %s can read through it %s, past its policies.', v.fqn,
    (select string_agg(a.name, ' and ' order by a.name) from api a join pg_class c on c.oid = v.oid
     where has_any_column_privilege(a.role, v.oid, 'select') and has_schema_privilege(a.role, c.relnamespace, 'usage')),
    string_agg(distinct t.oid::regclass::text, ', ')) as detail,
  format('alter view %s set (security_invoker = true);', v.fqn) as fix,
  v.fqn as fingerprint
from views v
join reached h on h.view = v.oid
join pg_class t on t.oid = h.relation and t.relkind in ('r', 'p') and t.relrowsecurity
where exists (
  select from api a join pg_class c on c.oid = v.oid
  where has_any_column_privilege(a.role, v.oid, 'select') and has_schema_privilege(a.role, c.relnamespace, 'usage')
)
group by v.oid, v.fqn
