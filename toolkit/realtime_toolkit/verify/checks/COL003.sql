-- COL003: A copy of protected rows that everybody reads
-- Policies are of a table, not of what is in it: an audit trail, a history or a search index that a trigger fills, or a table made
-- from another one, has to be protected as its source is.
with open_table as materialized (
  select t.* from own_table t where t.rls and t.relid in (select relid from everybody_reads)
),
copied as (
  select distinct g.tgrelid as source, x.relid as copy
  from pg_trigger g
  join routine r on r.function = g.tgfoid
  join own_table y on y.relid = g.tgrelid
  join open_table x on x.relid <> y.relid
    and r.source ~* ('\minsert\s+into\s+("?' || x.schema || '"?\s*\.\s*)?"?' || regexp_replace(x.name, '[][\\(){}.*+?^$|]', '\\\&', 'g') || '"?(\s|\()')
  where not g.tgisinternal and (
    r.source ~* '\m(to_jsonb?|row_to_json|hstore)\s*\(\s*(new|old)\s*\)|\m(new|old)\s*\.\s*\*'
    -- Names, pictures and keys are copied to be seen.
    or exists (
      select from own_column c where c.relid = y.relid and c.name !~*
          '^(id|.*_id|.*_?at|slug|handle|bio|((user|nick|display|full|first|last)_?)?name|(avatar|image|picture|photo).*|.*_by|.*count|status)$'
        and r.source ~* ('\m(new|old)\s*\.\s*' || c.pattern)
        and exists (select from own_column d where d.relid = x.relid and d.base_type ~ '^(text|character varying|jsonb?|numeric|inet|citext)$'
          and (d.name = c.name or d.name ~* '^(content|body|text|data|payload|details?|changes|summary|message|description)$'))
    )
  )
  union
  select y.relid, x.relid
  from own_table y join open_table x on x.relid <> y.relid and not x.is_partition and not y.is_partition
    and position(lower(y.name) in lower(x.name)) > 0
  where (select count(*) from own_column c where c.relid = y.relid) >= 4
    and x.name ~* ('(^|_)' || regexp_replace(y.name, '[][\\(){}.*+?^$|]', '\\\&', 'g') || '(_|$)')
    and not exists (
      select from own_column c where c.relid = y.relid
        and not exists (select from own_column d where d.relid = x.relid and d.name = c.name and d.type = c.type))
)
select
  'COL003' as code, 'error' as level, x.fqn as object,
  format('%s holds copies of rows of %s and is open to %s, who may not read them there.', x.fqn, string_agg(distinct y.fqn, ', '),
    string_agg(distinct a.name, ' and ')) as detail,
  format('create policy %I on %s as restrictive for select using (/* whoever may read the row of %s */);', x.name || '_as_its_source', x.fqn,
    min(y.fqn)) as fix,
  x.fqn as fingerprint
from copied c
join own_table y on y.relid = c.source and y.rls
join own_table x on x.relid = c.copy
join everybody_reads e on e.relid = x.relid
join api a on a.role = e.role
where has_any_column_privilege(a.role, x.relid, 'select') and has_schema_privilege(a.role, x.schema, 'usage')
  and not exists (select from everybody_reads o where o.relid = y.relid and o.role = e.role)
group by x.relid, x.fqn, x.name
