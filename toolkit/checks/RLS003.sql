-- RLS003: A policy calls auth.uid() for every row
-- Wrapped as (select auth.uid()) the function runs once a query; bare it runs for every row, in every sync and digest. The
-- same goes for auth.jwt(), auth.role(), auth.email() and current_setting(). A wrap that mentions a column of the table is
-- none: it runs for every row too.
--
-- How it is found: calls become @ and columns of the table inside subselects #, then the innermost parentheses are
-- reduced again and again: a (select …) without FROM and without # disappears, any other group leaves the marks in it.
with expression as (
  select p.policy, e.part,
    regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(e.expr,
      '''[^'']*''', '''''', 'g'),
      '\m' || regexp_replace(t.name, '[^a-zA-Z0-9_]', '.', 'g') || '"?\.', '#', 'g'),
      '"[^"]*"', 'q', 'g'),
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
    case when bool_or(r.part = 'using') then format(' using (%s)', regexp_replace(regexp_replace(p.qual,
      '\( SELECT (auth\.\w+\(\)) AS \w+\)', '\1', 'g'), '(auth\.(uid|jwt|role|email)\(\))', '(select \1)', 'g')) end,
    case when bool_or(r.part = 'with check') then format(' with check (%s)', regexp_replace(regexp_replace(p.wcheck,
      '\( SELECT (auth\.\w+\(\)) AS \w+\)', '\1', 'g'), '(auth\.(uid|jwt|role|email)\(\))', '(select \1)', 'g')) end) as fix,
  p.fqn || ' ' || p.name as fingerprint
from reduced r join policy p using (policy)
where r.text !~ '\(' and r.text ~ '@'
group by p.policy, p.name, p.fqn, p.qual, p.wcheck
