-- expect: TRK002
-- after: our migrations
-- A table that was tracked under a text and whose key was made shorter later: bytea, which Realtime writes without \x.
create table public.blobs (
  digest text primary key,
  owner_id uuid not null,
  label char(1)
);
create index on public.blobs (owner_id);
alter table public.blobs enable row level security;
create policy own on public.blobs for all to authenticated
  using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));
select public.track_table('public.blobs', kind => 'owner', scope_column => 'owner_id');

drop trigger zz_realtime_toolkit_fixed on public.blobs;
alter table public.blobs alter column digest type bytea using decode(digest, 'hex');
select realtime_toolkit.make_triggers('public.blobs', 'owner_id');
