-- expect: PUB007
-- Shape: parcels; the filter's column is not in the replica identity, so every UPDATE fails.
create table public.parcels (
  receiver_id uuid not null,
  id uuid not null default gen_random_uuid(),
  delivered boolean not null default false,
  primary key (receiver_id, id)
);
alter table public.parcels enable row level security;
create policy own on public.parcels for select to authenticated using (receiver_id = (select auth.uid()));
alter publication supabase_realtime add table public.parcels where (delivered = false);
