-- Part 4: the schema storage as Supabase's Storage server leaves it: buckets, objects and what policies call. No
-- server stands behind it: rows are just rows. Facts: a dump of a hosted project (Postgres 17.6, 2026), where rows of
-- storage.buckets and storage.objects are deleted through the API only.

set client_min_messages = warning;

create schema if not exists storage;
grant usage on schema storage to anon, authenticated, service_role;
grant usage on schema storage to postgres with grant option;
grant all on schema storage to dashboard_user;
grant all on schema storage to supabase_storage_admin with grant option;

-- The image supabase/postgres starts with an early form, empty; the Storage server's migrations are to change it.
do $seed$
begin
  if to_regclass('storage.objects') is not null then
    if not exists (select from storage.objects) and not exists (select from storage.buckets) and not exists (
      select from pg_attribute where attrelid = 'storage.objects'::regclass and attname = 'path_tokens'
    ) then
      drop table if exists storage.objects, storage.buckets cascade;
    end if;
  end if;
end
$seed$;
drop function if exists storage.search(text, text, integer, integer, integer);

do $types$
begin
  if to_regtype('storage.buckettype') is null then
    create type storage.buckettype as enum ('STANDARD', 'ANALYTICS', 'VECTOR');
  end if;
end
$types$;

create table if not exists storage.buckets (
  id text not null primary key,
  name text not null,
  owner uuid,
  created_at timestamptz default now(),
  updated_at timestamptz default now(),
  public boolean default false,
  avif_autodetection boolean default false,
  file_size_limit bigint,
  allowed_mime_types text[],
  owner_id text,
  type storage.buckettype not null default 'STANDARD'
);
create unique index if not exists bname on storage.buckets (name);

create table if not exists storage.objects (
  id uuid not null primary key default gen_random_uuid(),
  bucket_id text constraint "objects_bucketId_fkey" references storage.buckets,
  name text,
  owner uuid,
  created_at timestamptz default now(),
  updated_at timestamptz default now(),
  last_accessed_at timestamptz default now(),
  metadata jsonb,
  path_tokens text[] generated always as (string_to_array(name, '/')) stored,
  version text,
  owner_id text,
  user_metadata jsonb
);
create unique index if not exists bucketid_objname on storage.objects (bucket_id, name);
create index if not exists idx_objects_bucket_id_name on storage.objects (bucket_id, name collate "C");
create index if not exists idx_objects_bucket_id_name_lower on storage.objects (bucket_id, lower(name) collate "C");
create index if not exists name_prefix_search on storage.objects (name text_pattern_ops);

create table if not exists storage.s3_multipart_uploads (
  id text not null primary key,
  in_progress_size bigint not null default 0,
  upload_signature text not null,
  bucket_id text not null references storage.buckets,
  key text not null collate "C",
  version text not null,
  owner_id text,
  created_at timestamptz not null default now(),
  user_metadata jsonb,
  metadata jsonb
);
create index if not exists idx_multipart_uploads_list on storage.s3_multipart_uploads (bucket_id, key, created_at);

create table if not exists storage.s3_multipart_uploads_parts (
  id uuid not null primary key default gen_random_uuid(),
  upload_id text not null references storage.s3_multipart_uploads on delete cascade,
  size bigint not null default 0,
  part_number integer not null,
  bucket_id text not null references storage.buckets,
  key text not null collate "C",
  etag text not null,
  owner_id text,
  version text not null,
  created_at timestamptz not null default now()
);

create table if not exists storage.buckets_analytics (
  name text not null,
  type storage.buckettype not null default 'ANALYTICS',
  format text not null default 'ICEBERG',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  id uuid not null primary key default gen_random_uuid(),
  deleted_at timestamptz
);
create unique index if not exists buckets_analytics_unique_name_idx on storage.buckets_analytics (name)
  where deleted_at is null;

create table if not exists storage.buckets_vectors (
  id text not null primary key,
  type storage.buckettype not null default 'VECTOR',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);

create table if not exists storage.vector_indexes (
  id text not null primary key default gen_random_uuid(),
  name text not null collate "C",
  bucket_id text not null references storage.buckets_vectors,
  data_type text not null,
  dimension integer not null,
  distance_metric text not null,
  metadata_configuration jsonb,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
create unique index if not exists vector_indexes_name_bucket_id_idx on storage.vector_indexes (name, bucket_id);

create table if not exists storage.migrations (
  id integer not null primary key,
  name varchar(100) not null unique,
  hash varchar(40) not null,
  executed_at timestamp default current_timestamp
);

-- What policies call --------------------------------------------------------------------------------

-- The folders of a path: {a,b} of a/b/c.png, {} of c.png.
create or replace function storage.foldername(name text) returns text[] language sql immutable as $$
  select (string_to_array(name, '/'))[1:array_length(string_to_array(name, '/'), 1) - 1]
$$;
-- The last part of a path: c.png of a/b/c.png.
create or replace function storage.filename(name text) returns text language sql immutable as $$
  select (string_to_array(name, '/'))[array_length(string_to_array(name, '/'), 1)]
$$;
-- What follows the last dot of the last part; all of it where there is none.
create or replace function storage.extension(name text) returns text language sql immutable as $$
  select reverse(split_part(reverse((string_to_array(name, '/'))[array_length(string_to_array(name, '/'), 1)]), '.', 1))
$$;
-- Which request of the Storage API is being authorized; nothing sets it here.
create or replace function storage.operation() returns text language sql stable as $$
  select current_setting('storage.operation', true)
$$;
-- Whether it is one of these, each with or without the prefix "storage.".
create or replace function storage.allow_any_operation(expected_operations text[]) returns boolean
  language sql stable as $$
  select exists (
    select from unnest(expected_operations) as expected
    where expected <> '' and regexp_replace(expected, '^storage\.', '') = regexp_replace(storage.operation(), '^storage\.', '')
  )
$$;
create or replace function storage.allow_only_operation(expected_operation text) returns boolean
  language sql stable as $$
  select storage.allow_any_operation(array[expected_operation])
$$;

-- What the API calls --------------------------------------------------------------------------------

create or replace function storage.can_insert_object(bucketid text, name text, owner uuid, metadata jsonb)
  returns void language plpgsql as $$
begin
  insert into storage.objects (bucket_id, name, owner, metadata) values (bucketid, name, owner, metadata);
  raise sqlstate 'PT200' using message = 'ROLLBACK', detail = 'rollback successful insert';
end
$$;

-- The "folder" of a key below a prefix, with its delimiter: a/b/ of a/b/c below a/; null for a leaf.
create or replace function storage.get_common_prefix(p_key text, p_prefix text, p_delimiter text) returns text
  language sql immutable as $$
  select left(p_key, length(p_prefix) + nullif(position(p_delimiter in substr(p_key, length(p_prefix) + 1)), 0))
$$;

create or replace function storage.get_size_by_bucket() returns table (size bigint, bucket_id text)
  language sql stable as $$
  select sum((o.metadata ->> 'size')::bigint)::bigint, o.bucket_id from storage.objects o group by o.bucket_id
$$;

-- One level of a bucket's tree below a prefix, in either case: by name, or by a time, and then the folders (which have no
-- times and no id) first.
create or replace function storage.search(
  prefix text, bucketname text, limits integer default 100, levels integer default 1, offsets integer default 0,
  search text default '', sortcolumn text default 'name', sortorder text default 'asc'
) returns table (
  name text, id uuid, updated_at timestamptz, created_at timestamptz, last_accessed_at timestamptz, metadata jsonb
) language plpgsql stable as $$
declare
  direction text := case when lower(sortorder) = 'desc' then 'desc' else 'asc' end;
  by_time boolean := lower(sortcolumn) in ('updated_at', 'created_at', 'last_accessed_at');
begin
  return query execute format(
    'with below as (select o.path_tokens[$1] as step, cardinality(o.path_tokens) > $1 as folder, o.*'
    '  from storage.objects o where o.bucket_id = $3 and starts_with(lower(o.name), lower($2)))'
    ' select i.step, i.id, i.updated_at, i.created_at, i.last_accessed_at, i.metadata from ('
    '  select min(step) as step, null::uuid as id, null::timestamptz as updated_at, null::timestamptz as created_at,'
    '   null::timestamptz as last_accessed_at, null::jsonb as metadata, folder'
    '  from below where folder group by lower(step), folder'
    '  union all'
    '  select b.step, b.id, b.updated_at, b.created_at, b.last_accessed_at, b.metadata, b.folder from below b where not folder'
    ' ) i order by %s %s limit $4 offset $5',
    case when by_time then format('not i.folder, i.%I', lower(sortcolumn)) else 'lower(i.step) collate "C"' end, direction)
  using levels, coalesce(prefix, '') || coalesce(search, ''), bucketname, least(coalesce(limits, 100), 1500), offsets;
end
$$;

create or replace function storage.enforce_bucket_name_length() returns trigger language plpgsql as $$
begin
  if length(new.name) > 100 then
    raise exception 'bucket name "%" is too long (% characters). Max is 100.', new.name, length(new.name);
  end if;
  return new;
end
$$;
create or replace function storage.protect_delete() returns trigger language plpgsql as $$
begin
  if coalesce(current_setting('storage.allow_delete_query', true), 'false') <> 'true' then
    raise insufficient_privilege using
      message = 'Direct deletion from storage tables is not allowed. Use the Storage API instead.',
      hint = 'This prevents accidental data loss from orphaned objects.';
  end if;
  return null;
end
$$;
create or replace function storage.update_updated_at_column() returns trigger language plpgsql as $$
begin
  new.updated_at := now();
  return new;
end
$$;

create or replace trigger enforce_bucket_name_length_trigger before insert or update of name on storage.buckets
  for each row execute function storage.enforce_bucket_name_length();
create or replace trigger protect_buckets_delete before delete on storage.buckets
  for each statement execute function storage.protect_delete();
create or replace trigger protect_objects_delete before delete on storage.objects
  for each statement execute function storage.protect_delete();
create or replace trigger update_objects_updated_at before update on storage.objects
  for each row execute function storage.update_updated_at_column();

-- Access ------------------------------------------------------------------------------------------

grant all on storage.buckets, storage.objects to anon, authenticated, service_role;
grant all on storage.buckets, storage.objects to postgres with grant option;
grant all on storage.buckets_analytics to anon, authenticated, service_role;
grant select on storage.s3_multipart_uploads, storage.s3_multipart_uploads_parts, storage.buckets_vectors,
  storage.vector_indexes to anon, authenticated, service_role;
grant all on storage.s3_multipart_uploads, storage.s3_multipart_uploads_parts to service_role;
select pg_temp.grant_by_default('postgres', 'storage', 'postgres, anon, authenticated, service_role');

do $owners$
declare
  item record;
begin
  for item in select oid::regclass as name from pg_class where relnamespace = 'storage'::regnamespace and relkind = 'r' loop
    execute format('alter table %s enable row level security', item.name);
    perform pg_temp.attempt(format('alter table %s owner to supabase_storage_admin', item.name));
  end loop;
  for item in select oid::regprocedure as name from pg_proc where pronamespace = 'storage'::regnamespace loop
    perform pg_temp.attempt(format('alter function %s owner to supabase_storage_admin', item.name));
  end loop;
  perform pg_temp.attempt('alter type storage.buckettype owner to supabase_storage_admin');
end
$owners$;

reset client_min_messages;
