-- PUB008: A published table has no usable replica identity (55000)
-- With updates or deletes published and no way to name the old row, Postgres refuses every UPDATE and DELETE with
-- 55000. A primary key that is deferrable does not serve, nor does an identity index that was dropped.
select
  'PUB008' as code, 'error' as level, t.fqn as object,
  format('%s is published without a usable replica identity (%s): every UPDATE and DELETE on it fails with 55000.', t.fqn,
    case
      when t.replident = 'n' then 'it is set to NOTHING'
      when t.replident = 'i' then 'the index it names is gone'
      when k.relid is not null then 'the primary key is deferrable'
      else 'there is no primary key'
    end) as detail,
  case
    when k.relid is null then format('alter table %s add column id bigint generated always as identity primary key;', t.fqn)
    when k.immediate then format('alter table %s replica identity default;', t.fqn)
    else format('alter table %1$s drop constraint %2$I; alter table %1$s add primary key (%3$s);', t.fqn,
      (select conname from pg_constraint where conrelid = t.relid and contype = 'p'),
      (select string_agg(quote_ident(a.attname), ', ') from pg_attribute a where a.attrelid = t.relid and a.attnum = any (k.cols)))
  end as fix,
  t.fqn as fingerprint
from published t join identity i using (relid) left join primary_key k using (relid)
where i.cols is null and exists (select from publication where pubupdate or pubdelete)
