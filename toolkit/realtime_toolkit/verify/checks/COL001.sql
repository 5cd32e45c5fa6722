-- COL001: A private column in a row that everybody reads
-- A policy opens whole rows: what else stands in a row that is public by design goes out with it, over REST and to every
-- subscriber. Column privileges, or a table of its own, keep it back.
with found as (
  select s.relid, s.attnum, min(s.name) as name, array_agg(distinct s.role_name order by s.role_name) as roles
  from shown_column s where kind <> 'secret' group by s.relid, s.attnum
),
by_table as (
  select relid, string_agg(quote_ident(name), ', ' order by attnum) as names, array_agg(attnum) as attnums, count(*) as many,
    (select string_agg(distinct quote_ident(r), ', ' order by quote_ident(r)) from found g, unnest(g.roles) r where g.relid = f.relid) as roles,
    bool_or('anon' = any (roles)) as public
  from found f group by relid
)
select
  'COL001' as code, case when b.public then 'error' else 'warning' end as level, t.fqn as object,
  format('Every row of %s that is open to %s shows %s, which look%s private.', t.fqn, replace(b.roles, ', ', ' and '), b.names, case when b.many = 1 then 's' else '' end) as detail,
  format('revoke select on %1$s from %2$s; grant select (%3$s) on %1$s to %2$s;', t.fqn, b.roles,
    (select string_agg(quote_ident(c.name), ', ' order by c.attnum) from own_column c where c.relid = t.relid and c.attnum <> all (b.attnums)))
    || '  -- or move them to a table of their own, with a policy of their own' as fix,
  t.fqn as fingerprint
from by_table b join own_table t using (relid)
