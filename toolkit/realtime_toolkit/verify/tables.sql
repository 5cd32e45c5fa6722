-- One JSON document with all that the dynamic checks need to know; goes after the relations of checks/_facts.sql.
, domain_of (domain, check_of, type, typmod, not_null, preset) as (
  select oid, oid, typbasetype, typtypmod, typnotnull, typdefault from pg_type where typtype = 'd'
  union all
  select d.domain, y.oid, y.typbasetype, greatest(d.typmod, y.typtypmod), d.not_null or y.typnotnull, coalesce(d.preset, y.typdefault)
  from domain_of d join pg_type y on y.oid = d.type where y.typtype = 'd'
),
-- Those to be judged, and what their foreign keys lead to, in whatever schema.
seeded (relid) as (
  select relid from own_table
  union
  select k.confrelid from seeded s join pg_constraint k on k.conrelid = s.relid and k.contype = 'f'
),
modelled as materialized (
  select t.relid, t.schema, t.fqn, t.kind, t.rls, t.replident, t.is_partition, true as own from own_table t
  union all
  select c.oid, c.relnamespace::regnamespace::text, c.oid::regclass::text, c.relkind, c.relrowsecurity, c.relreplident, c.relispartition, false
  from seeded s join pg_class c on c.oid = s.relid where s.relid not in (select relid from own_table)
),
-- The columns of an index, those inside its expressions and its condition too; plain where there are only columns.
index_columns as materialized (
  select i.indexrelid, i.indrelid, x.relname as name, 0 <> all (i.indkey::int2[]) and i.indpred is null and i.indisunique as plain, (
    select json_agg(distinct a.attname) from pg_attribute a
    where a.attrelid = i.indrelid and (
      a.attnum = any (i.indkey::int2[])
      or (i.indexprs is not null or i.indpred is not null) and exists (
        select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = i.indexrelid
          and d.refclassid = 'pg_class'::regclass and d.refobjid = i.indrelid and d.refobjsubid = a.attnum))) as columns
  from pg_index i join pg_class x on x.oid = i.indexrelid
  where i.indrelid in (select relid from modelled) and (i.indisunique or i.indisexclusion)
),
table_checks as materialized (
  select t.relid, k.conname as name, pg_get_constraintdef(k.oid) as definition, (
    select json_agg(a.attname order by a.attnum) from pg_attribute a where a.attrelid = t.relid and a.attnum = any (k.conkey)) as columns
  from modelled t join pg_constraint k on k.conrelid = t.relid and k.contype = 'c'
  union all
  select a.attrelid, k.conname, pg_get_constraintdef(k.oid), json_agg(a.attname order by a.attnum)
  from domain_of d
  join pg_constraint k on k.contypid = d.check_of and k.contype = 'c'
  join pg_attribute a on a.atttypid = d.domain and a.attnum > 0 and not a.attisdropped
  where a.attrelid in (select relid from modelled)
  group by a.attrelid, k.oid, k.conname
)
select json_build_object(
  'publication', (select json_build_object('insert', pubinsert, 'update', pubupdate, 'delete', pubdelete) from publication),
  'has_messages', exists (select from message_table),
  'message_policies', (
    select json_agg(json_build_object(
      'name', p.name, 'command', p.cmd, 'permissive', p.permissive, 'text', concat_ws(' | ', p.qual, p.wcheck),
      'functions', (
        select json_agg(json_build_object('name', format('%s.%I', f.pronamespace::regnamespace, f.proname), 'body', f.prosrc))
        from pg_depend d join pg_proc f on f.oid = d.refobjid
        where d.classid = 'pg_policy'::regclass and d.objid = p.policy and d.refclassid = 'pg_proc'::regclass)
    ) order by p.name) from channel_policy p),
  'tracked', (
    select json_agg(json_build_object('relation', t.fqn, 'kind', k.kind, 'scope_column', k.scope_column) order by t.fqn)
    from tracked k join own_table t using (relid)),
  'sequences', (
    select json_object_agg(format('%I.%I', u.name, c.relname), q.seqincrement order by u.name, c.relname)
    from pg_sequence q join pg_class c on c.oid = q.seqrelid join user_schema u on u.oid = c.relnamespace
    where c.relpersistence <> 't'),
  -- What reads the metadata of a user, the functions of triggers first of all.
  'metadata_readers', (
    select json_agg(f.prosrc order by f.oid) from pg_proc f
    where f.oid in (
        select g.tgfoid from pg_trigger g join pg_class c on c.oid = g.tgrelid join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'auth' and c.relname = 'users' and not g.tgisinternal)
      or f.prosrc ~ 'raw_(user|app)_meta_data' and f.pronamespace in (select oid from user_schema)),
  'tables', (
    select json_agg(json_build_object(
      'name', t.fqn, 'kind', t.kind, 'own', t.own, 'published', t.relid in (select relid from published), 'rls', t.rls,
      'columns', (
        select json_agg(json_build_object(
          'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), 'base', y.oid::regtype::text, 'kind', y.typtype,
          'labels', (select json_agg(e.enumlabel order by e.enumsortorder) from pg_enum e where e.enumtypid in (y.oid, y.typelem)),
          'length', case
            when y.typtype = 'c' then (select count(*) from pg_attribute f where f.attrelid = y.typrelid and f.attnum > 0 and not f.attisdropped)
            when y.oid in ('varchar'::regtype, 'bpchar'::regtype) and m.typmod > 4 then m.typmod - 4
            when y.oid::regtype::text ~ '(^|\.)(bit|bit varying|vector|halfvec)$' and m.typmod > 0 then m.typmod end,
          'not_null', a.attnotnull or coalesce(d.not_null, false),
          'default', case when a.attidentity = 'd' then 'identity'
            when a.attgenerated <> '' then null
            when a.atthasdef then (select pg_get_expr(x.adbin, x.adrelid) from pg_attrdef x where x.adrelid = a.attrelid and x.adnum = a.attnum)
            else d.preset end,
          'generated', a.attgenerated <> '' or a.attidentity = 'a', 'identity', a.attidentity <> ''
        ) order by a.attnum)
        from pg_attribute a
        left join domain_of d on d.domain = a.atttypid and d.type not in (select domain from domain_of)
        join pg_type y on y.oid = coalesce(d.type, a.atttypid)
        cross join lateral (select greatest(a.atttypmod, d.typmod) as typmod) m
        where a.attrelid = t.relid and a.attnum > 0 and not a.attisdropped),
      'key', (
        select json_agg(a.attname order by u.place) from pg_index i cross join lateral unnest(i.indkey::int2[]) with ordinality as u (attnum, place)
        join pg_attribute a on a.attrelid = i.indrelid and a.attnum = u.attnum
        where i.indrelid = t.relid and i.indisprimary and i.indisvalid and u.place <= i.indnkeyatts),
      'identity', (
        select json_agg(a.attname order by a.attnum) from identity i join pg_attribute a on a.attrelid = i.relid and a.attnum = any (i.cols)
        where i.relid = t.relid and not a.attisdropped),
      'identity_kind', t.replident,
      'uniques', (
        select json_agg(json_build_object('name', x.name, 'columns', x.columns, 'plain', x.plain) order by x.name)
        from index_columns x where x.indrelid = t.relid),
      'foreign_keys', (
        select json_agg(json_build_object('target', k.confrelid::regclass::text, 'deferrable', k.condeferrable, 'columns', (
            select json_agg(a.attname order by u.place) from unnest(k.conkey) with ordinality as u (attnum, place)
            join pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.attnum),
          'target_columns', (
            select json_agg(a.attname order by u.place) from unnest(k.confkey) with ordinality as u (attnum, place)
            join pg_attribute a on a.attrelid = k.confrelid and a.attnum = u.attnum)) order by k.conname)
        from pg_constraint k where k.conrelid = t.relid and k.contype = 'f'
          -- Of a foreign key to a divided table Postgres keeps another one to each partition.
          and (k.conparentid = 0 or k.conrelid <> (select p.conrelid from pg_constraint p where p.oid = k.conparentid))),
      'checks', (
        select json_agg(json_build_object('name', x.name, 'definition', x.definition, 'columns', x.columns) order by x.name)
        from table_checks x where x.relid = t.relid),
      'policies', (
        select json_agg(json_build_object(
          'name', p.name, 'command', p.cmd, 'permissive', p.permissive, 'text', concat_ws(' | ', p.qual, p.wcheck),
          'using', p.qual, 'check', p.wcheck, 'personal', p.policy in (select policy from personal),
          'roles', (select json_agg(r.role_name) from policy_role r where r.policy = p.policy),
          'functions', (select json_agg(json_build_object('name', format('%s.%I', f.schema, f.name), 'body', f.body))
            from policy_function f where f.policy = p.policy)
        ) order by p.name) from policy p where p.relid = t.relid),
      'partitions', (
        select json_agg(json_build_object(
          'parent', h.inhparent::regclass::text, 'bound', pg_get_expr(c.relpartbound, c.oid),
          'columns', (
            select json_agg(f.attname order by u.place)
            from pg_partitioned_table g cross join lateral unnest(g.partattrs::int2[]) with ordinality as u (attnum, place)
            join pg_attribute f on f.attrelid = g.partrelid and f.attnum = u.attnum where g.partrelid = h.inhparent)
        ) order by a.place)
        from pg_partition_ancestors(t.relid) with ordinality as a (relid, place)
        join pg_class c on c.oid = a.relid
        join pg_inherits h on h.inhrelid = a.relid
        where t.is_partition),
      'reach', (
        select json_object_agg(a.name, array_remove(array[
          case when has_any_column_privilege(a.role, t.relid, 'select') then 'select' end,
          case when has_any_column_privilege(a.role, t.relid, 'insert') then 'insert' end,
          case when has_any_column_privilege(a.role, t.relid, 'update') then 'update' end,
          case when has_table_privilege(a.role, t.relid, 'delete') then 'delete' end], null))
        from api a where has_schema_privilege(a.role, t.schema, 'usage')),
      'public_read', (select json_agg(a.name) from public_read o join api a using (role) where o.relid = t.relid),
      'personal_read', exists (
        select from policy p where p.relid = t.relid and p.permissive and p.cmd in ('r', '*') and p.policy in (select policy from personal)),
      'filter_columns', (select json_agg(f.name) from filter_column f where f.relid = t.relid)
    ) order by t.fqn)
    from modelled t)
)::text
