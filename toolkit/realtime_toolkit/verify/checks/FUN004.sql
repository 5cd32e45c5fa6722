-- FUN004: A SECURITY DEFINER function whose search_path others decide
-- It runs with its owner's rights and takes the tables and functions that it names without a schema from wherever search_path
-- leads first: a path of the caller's own, temporary tables, a schema in which clients may create objects.
with path as (
  select r.function, c.value is null as missing, e.place, btrim(e.name, ' "') as name
  from routine r
  left join lateral (
    select substr(x, length('search_path=') + 1) as value from unnest(r.config) x where x ~ '^search_path='
  ) as c on true
  left join lateral string_to_table(c.value, ',') with ordinality as e (name, place) on true
  where r.definer and r.language in ('sql', 'plpgsql', 'plv8', 'plpython3u', 'plperl')
    and (
      exists (select from callable x where x.function = r.function)
      or exists (select from api a where not r.is_trigger and has_function_privilege(a.role, r.function, 'execute')
        and has_schema_privilege(a.role, r.schema, 'usage'))
      or exists (select from pg_trigger g where g.tgfoid = r.function)
    )
),
judged as (
  select p.function, bool_or(p.missing) as missing,
    bool_or(p.name = 'pg_temp' and exists (
      select from path o where o.function = p.function and o.place > p.place and o.name not in ('', 'pg_catalog'))) as temporary,
    min(p.name) filter (where exists (
      select from api a join pg_namespace n on n.nspname = p.name where has_schema_privilege(a.role, n.oid, 'create'))) as writable,
    string_agg(quote_ident(p.name), ', ' order by p.place) filter (where p.name not in ('', 'pg_temp') and not exists (
      select from api a join pg_namespace n on n.nspname = p.name where has_schema_privilege(a.role, n.oid, 'create'))) as kept
  from path p group by p.function
)
select
  'FUN004' as code, case when missing then 'warning' else 'error' end as level, 'function ' || r.signature as object,
  format('The function %s is SECURITY DEFINER %s.', r.signature, case
    when missing then 'and has no search_path of its own: what it names without a schema is looked up by the path of whoever calls it'
    when temporary then 'and its search_path has pg_temp before other schemas: a temporary table of the caller''s takes the place of the real one'
    else format('and its search_path leads to the schema %I, in which clients may create objects', writable) end) as detail,
  case
    when missing then format('alter routine %s set search_path = '''';  -- and write the schema before every name in its body', r.signature)
    else format('alter routine %s set search_path = %s;', r.signature, coalesce(kept || ', ', '') || 'pg_temp')
  end as fix,
  r.signature as fingerprint
from judged join routine r using (function)
where (temporary or writable is not null or missing and not r.parsed)
  -- MSG008 has said it of those that broadcast.
  and not (missing and exists (select from sender s where s.function = r.function))
