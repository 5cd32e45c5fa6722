-- PUB014: Filter columns outside the replica identity: a filtered subscription never hears a DELETE
-- Realtime knows of a deleted row only the columns of the replica identity. A subscription filtered on another column
-- (scope, owner, tenant) never gets a DELETE. Filter columns are those by which the policies restrict reading; one of
-- them in the identity is enough. Tracked tables are judged by TRK001.
with wanted as (
  select relid, attnum, name from filter_column where relid not in (select relid from tracked)
),
-- Rows that are marked rather than deleted: nobody may delete them.
soft_deleted as (
  select distinct c.relid from own_column c join own_table t using (relid)
  where c.name ~* '^(is_?)?(deleted|archived|removed)(_?(at|on))?$' and t.rls
    and not exists (
      select from policy p join policy_role r using (policy)
      where p.relid = c.relid and p.permissive and p.cmd in ('d', '*') and has_table_privilege(r.role, c.relid, 'delete')
    )
)
select
  'PUB014' as code, 'warning' as level, t.fqn as object,
  format('A subscription to %s filtered on %s never hears of a DELETE: the replica identity (%s) does not hold the filter column.',
    t.fqn, string_agg(quote_ident(w.name), ' or ' order by w.attnum),
    (select string_agg(quote_ident(c.name), ', ' order by c.attnum) from own_column c where c.relid = t.relid and c.attnum = any (i.cols)))
    as detail,
  format('alter table %1$s alter column %2$I set not null; create unique index %3$I on %1$s (%2$I, %4$s); '
    'alter table %1$s replica identity using index %3$I;', t.fqn, (array_agg(w.name order by w.attnum))[1],
    left(t.name, case when octet_length(t.name) = length(t.name) then 40 else 13 end) || '_identity',  -- 63 bytes hold it
    (select string_agg(quote_ident(c.name), ', ' order by c.attnum) from own_column c join primary_key k on k.relid = c.relid
     where c.relid = t.relid and c.attnum = any (k.cols))) as fix,
  t.fqn as fingerprint
from published t join identity i using (relid) join wanted w using (relid)
where i.cols is not null and t.relid not in (select relid from soft_deleted)
  and exists (select from publication where pubdelete)
group by t.relid, t.fqn, t.name, i.cols
having not bool_or(w.attnum = any (i.cols))
