-- expect: TRK003
-- after: our migrations
-- A composite type, codes of a fixed length under a domain and in an array, and a type with a cast to json.
create type public.place as (street text, zip char(5));
create domain public.code as char(4);
create type public.size as enum ('small', 'large');
create function public.as_json(public.size) returns json language sql immutable as $$ select json_build_object('size', $1::text) $$;
create cast (public.size as json) with function public.as_json(public.size);
create table public.parcels (
  id uuid primary key default gen_random_uuid(),
  owner_id uuid not null,
  target public.place,
  code public.code,
  stops char(3)[],
  size public.size
);
create index on public.parcels (owner_id);
alter table public.parcels enable row level security;
create policy own on public.parcels for all to authenticated
  using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));
select public.track_table('public.parcels', kind => 'owner', scope_column => 'owner_id');
