-- One JSON document with all that the dynamic checks need to know; goes after the relations of checks/_facts.sql.
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
  'tables', (
    select json_agg(json_build_object(
      'name', t.fqn, 'kind', t.kind, 'published', t.relid in (select relid from published), 'rls', t.rls,
      'columns', (
        select json_agg(json_build_object(
          'name', c.name, 'type', format_type(c.type, c.typmod), 'base', c.base_type, 'kind', y.typtype,
          'labels', (select json_agg(e.enumlabel order by e.enumsortorder) from pg_enum e where e.enumtypid = y.oid),
          'length', case
            when y.typtype = 'c' then (select count(*) from pg_attribute f where f.attrelid = y.typrelid and f.attnum > 0 and not f.attisdropped)
            when c.base_type in ('character varying', 'character') and c.typmod > 4 then c.typmod - 4
            when c.base_type ~ '(^|\.)(bit|bit varying|vector|halfvec)$' and c.typmod > 0 then c.typmod end,
          'not_null', c.not_null,
          'default', case when c.identity = 'd' then 'identity'
            when c.has_default and c.generated = '' then
              (select pg_get_expr(d.adbin, d.adrelid) from pg_attrdef d where d.adrelid = c.relid and d.adnum = c.attnum) end,
          'generated', c.generated <> '' or c.identity = 'a', 'identity', c.identity <> ''
        ) order by c.attnum)
        from own_column c join pg_type y on y.oid = c.base_type::regtype where c.relid = t.relid),
      'key', (
        select json_agg(c.name order by u.place) from primary_key k cross join lateral unnest(k.cols) with ordinality as u (attnum, place)
        join own_column c on c.relid = k.relid and c.attnum = u.attnum where k.relid = t.relid),
      'identity', (
        select json_agg(c.name order by c.attnum) from identity i join own_column c on c.relid = i.relid and c.attnum = any (i.cols)
        where i.relid = t.relid),
      'identity_kind', t.replident,
      'uniques', (
        select json_agg(json_build_object('name', x.relname, 'columns', (
          select json_agg(a.attname) from pg_attribute a where a.attrelid = t.relid and a.attnum = any (i.indkey::int2[]))))
        from pg_index i join pg_class x on x.oid = i.indexrelid where i.indrelid = t.relid and i.indisunique and i.indkey::int2[] <> '{0}'),
      'foreign_keys', (
        select json_agg(json_build_object('target', k.confrelid::regclass::text, 'columns', (
            select json_agg(a.attname order by u.place) from unnest(k.conkey) with ordinality as u (attnum, place)
            join pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.attnum),
          'target_columns', (
            select json_agg(a.attname order by u.place) from unnest(k.confkey) with ordinality as u (attnum, place)
            join pg_attribute a on a.attrelid = k.confrelid and a.attnum = u.attnum)) order by k.conname)
        from pg_constraint k where k.conrelid = t.relid and k.contype = 'f'),
      'checks', (
        select json_agg(json_build_object('name', x.name, 'definition', x.definition, 'columns', x.columns) order by x.name) from (
          select k.conname as name, pg_get_constraintdef(k.oid) as definition, (
            select json_agg(a.attname order by a.attnum) from pg_attribute a where a.attrelid = t.relid and a.attnum = any (k.conkey)) as columns
          from pg_constraint k where k.conrelid = t.relid and k.contype = 'c'
          union all
          select k.conname, pg_get_constraintdef(k.oid), json_agg(c.name order by c.attnum)
          from pg_constraint k join own_column c on c.relid = t.relid and c.type = k.contypid
          where k.contype = 'c' and k.contypid <> 0 group by k.oid, k.conname
        ) as x),
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
            select json_agg(f.attname) from pg_partitioned_table g
            join pg_attribute f on f.attrelid = g.partrelid and f.attnum = any (g.partattrs::int2[]) where g.partrelid = h.inhparent)
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
    from own_table t)
)::text
