-- RLS009: A materialized view shows clients what policies hide
-- A materialized view has no policies and holds what its owner saw: whoever may select from it sees every row.
select
  'RLS009' as code, 'error' as level, m.fqn as object,
  format('The materialized view %s is readable by %s and holds rows of %s, past their policies.', m.fqn,
    (select string_agg(a.name, ' and ' order by a.name) from api a where has_any_column_privilege(a.role, m.oid, 'select')),
    string_agg(distinct t.oid::regclass::text, ', ')) as detail,
  format('revoke all on %s from anon, authenticated;', m.fqn) as fix,
  m.fqn as fingerprint
from (
  select c.oid, c.oid::regclass::text as fqn, c.relnamespace as schema from pg_class c join own_schema s on s.oid = c.relnamespace
  where c.relkind = 'm'
) as m
join pg_rewrite r on r.ev_class = m.oid
join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
join pg_class t on t.oid = d.refobjid and t.oid <> m.oid and t.relkind in ('r', 'p') and t.relrowsecurity
where exists (
  select from api a where has_any_column_privilege(a.role, m.oid, 'select') and has_schema_privilege(a.role, m.schema, 'usage')
) and not exists (  -- what everybody may read anyway is no secret
  select from own_table o where o.relid = t.oid and (select count(*) from public_read p where p.relid = o.relid) = 2
)
group by m.oid, m.fqn
