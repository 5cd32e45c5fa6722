-- UPD001: A published table that clients update has no updated_at
-- Without it nobody can tell a stale row from a current one, nor order what arrives twice. Judged are published tables with an
-- UPDATE policy; not link tables, whose rows come and go: those whose key is made of foreign keys, or that hold keys only. A
-- version that a trigger counts tells as much.
select
  'UPD001' as code, 'warning' as level, t.fqn as object,
  format('%s is published and clients may update it, but it has no updated_at column.', t.fqn) as detail,
  format('alter table %s add column updated_at timestamptz not null default now();', t.fqn) as fix,
  t.fqn as fingerprint
from published t
where t.rls and t.kind = 'r' and t.relid not in (select relid from change_time union select relid from tracked)
  and exists (select from publication where pubupdate)
  and exists (
    select from policy p join policy_role r using (policy)
    where p.relid = t.relid and p.permissive and p.cmd in ('w', '*') and has_any_column_privilege(r.role, t.relid, 'update')
  )
  and not exists (
    select from own_column c
    join pg_trigger g on g.tgrelid = c.relid and not g.tgisinternal and g.tgtype::int & (1 | 2 | 16) = (1 | 2 | 16)
    join pg_proc f on f.oid = g.tgfoid
    where c.relid = t.relid and c.base_type in ('smallint', 'integer', 'bigint') and g.tgenabled in ('O', 'A')
      and c.name ~* '^((row|lock|record)_?)?(version|revision)(_?(no|number|num|count|counter))?$|^(row_?)?rev$'
      and f.prosrc ~* ('new\s*\.\s*"?' || c.name || '"?\s*:?=')
  )
  and not exists (
    select from primary_key k
    where k.relid = t.relid and cardinality(k.cols) > 1 and k.cols <@ array(
      select unnest(f.conkey) from pg_constraint f where f.conrelid = t.relid and f.contype = 'f')
  )
  and exists (
    select from own_column c
    where c.relid = t.relid and c.name !~* '^(created|inserted|joined|added|deleted)_?(at|on|by)$'
      and not exists (
        select from pg_constraint k
        where k.conrelid = t.relid and k.contype in ('p', 'f') and c.attnum = any (k.conkey)
      )
  )
