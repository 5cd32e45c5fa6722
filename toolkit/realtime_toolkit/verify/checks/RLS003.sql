-- RLS003: A policy calls auth.uid() for every row
-- Wrapped as (select auth.uid()) the function runs once a query; bare it runs for every row, in every sync and digest. The
-- same goes for auth.jwt(), auth.role(), auth.email() and current_setting(). A wrap that mentions a column of the table is
-- none: it runs for every row too.
--
-- How it is found: calls become @ and columns of the table inside subselects #, then the innermost parentheses are
-- reduced again and again: a (select …) without FROM and without # disappears, any other group leaves the marks in it.
with expression as (
  select p.policy, e.part,
    regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(translate(regexp_replace(e.expr,
      '''[^'']*''', '''''', 'g'), '@#', '~~'),  -- operators such as @> are no marks
      case when quote_ident(t.name) = t.name then '\m' else '' end
        || regexp_replace(quote_ident(t.name), '[][\\(){}.*+?^$|]', '\\\&', 'g') || '\.', '#', 'g'),
      '"([^"]|"")*"', 'q', 'g'),
      'auth\.(uid|jwt|role|email)\(\)', '@', 'g'),
      'current_setting\(', '(@', 'g'),
      '\s+', ' ', 'g') as text
  from policy p join own_table t using (relid), lateral (values ('using', p.qual), ('with check', p.wcheck)) as e (part, expr)
  where e.expr ~ 'auth\.(uid|jwt|role|email)\(\)|current_setting\('
),
reduced as (
  select policy, part, text from expression
  union
  select policy, part,
    regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(text,
      '\( SELECT ((?! FROM )[^()#])*\)', ' ', 'g'),
      '\([^()]*@[^()]*#[^()]*\)|\([^()]*#[^()]*@[^()]*\)', '@#', 'g'),
      '\((?! SELECT ((?! FROM )[^()#])*\))[^()#]*@[^()#]*\)', '@', 'g'),
      '\([^()@]*#[^()@]*\)', '#', 'g'),
      '\([^()@#]*\)', ' ', 'g')
  from reduced where text ~ '\('
)
select
  'RLS003' as code, 'warning' as level, format('policy %I on %s', p.name, p.fqn) as object,
  format('The policy %I on %s calls auth.uid(), auth.jwt() or current_setting() once per row (%s), not wrapped in (select …).',
    p.name, p.fqn, string_agg(upper(r.part), ' and ' order by r.part)) as detail,
  format('alter policy %I on %s%s%s;', p.name, p.fqn,
    case when bool_or(r.part = 'using') then ' using (' || wrapped.qual || ')' end,
    case when bool_or(r.part = 'with check') then ' with check (' || wrapped.wcheck || ')' end) as fix,
  p.fqn || ' ' || p.name as fingerprint
from reduced r join policy p using (policy)
cross join lateral (  -- those that are wrapped already are unwrapped first
  select max(e.text) filter (where e.part = 1) as qual, max(e.text) filter (where e.part = 2) as wcheck
  from (
    select part, regexp_replace(regexp_replace(x.expr, '\( SELECT (auth\.\w+\(\)) AS \w+\)', '\1', 'g'),
      '(auth\.(uid|jwt|role|email)\(\)|current_setting\(''[^'']*''(::text)?(, (true|false))?\))', '(select \1)', 'g') as text
    from (values (1, p.qual), (2, p.wcheck)) as x (part, expr)
  ) as e
) as wrapped
where r.text !~ '\(' and r.text ~ '@'
group by p.policy, p.name, p.fqn, wrapped.qual, wrapped.wcheck
