-- PUB015: A natural key as primary key: a DELETE shows it to everybody
-- Realtime evaluates no policy for a DELETE: the primary key goes to everyone who is subscribed, anon included. A key that
-- means something outside the table (an address, a number, a name, a token) is shown with it. Not judged where everybody
-- may read the rows anyway.
select
  'PUB015' as code, 'warning' as level, t.fqn || '.' || quote_ident(c.name) as object,
  format('%s has the natural key %s as part of its primary key: Realtime evaluates no policy for a DELETE and sends the key of '
    'every deleted row to every subscriber.', t.fqn, quote_ident(c.name)) as detail,
  format('alter table %1$s drop constraint %2$I; alter table %1$s add column id uuid primary key default gen_random_uuid(); '
    'alter table %1$s add unique (%3$I);', t.fqn,
    (select conname from pg_constraint where conrelid = t.relid and contype = 'p'), c.name) as fix,
  t.fqn || '.' || c.name as fingerprint
from published t
join primary_key k using (relid)
join own_column c on c.relid = t.relid and c.attnum = any (k.cols)
where t.rls and exists (select from publication where pubdelete)
  and (select count(*) from public_read o where o.relid = t.relid) < 2
  and not c.has_default and c.identity = '' and c.generated = ''
  and not exists (
    select from pg_constraint f where f.conrelid = t.relid and f.contype = 'f' and c.attnum = any (f.conkey)
  )
  and (
    (c.base_type in ('text', 'character varying', 'character', 'citext', 'extensions.citext', 'public.citext', 'inet', 'cidr',
                     'macaddr', 'macaddr8')
     and not (cardinality(k.cols) > 1 and (
       -- the scope of a composite key, the key of a partition, or a column beside a key without meaning
       exists (select from filter_column f where f.relid = t.relid and f.attnum = c.attnum)
       or t.is_partition
       or exists (
         select from own_column o
         where o.relid = t.relid and o.attnum = any (k.cols) and o.attnum <> c.attnum
           and (o.has_default or o.identity <> '' or o.name ~* '^(id|uuid)$'))))
     and c.name !~* '(^|_)(id|uid|uuid|guid|ulid|nanoid|cuid|ksuid|hash|digest)$'
     -- Names of things rather than of people.
     and c.name !~* '(^|_)(key|path|slug|sku|symbol|tag|topic|kind|type|locale|lang|language|currency|country|region|zone|version)$')
    or c.name ~* '(e?mail|phone|mobile|ssn|social_?security|passport|national|tax_?(id|no|number)|iban|card|licen[cs]e|plate|isbn)'
  )
