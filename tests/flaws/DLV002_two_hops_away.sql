-- expect: DLV002
-- Shape: meters of flats of houses; the houses are closed, and with them all that hangs on them.
create table public.houses (id uuid primary key default gen_random_uuid(), landlord_id uuid not null references auth.users);
create table public.flats (id uuid primary key default gen_random_uuid(), house_id uuid not null references public.houses);
create table public.meters (
  flat_id uuid not null references public.flats,
  id uuid not null default gen_random_uuid(),
  primary key (flat_id, id)
);
create index on public.houses (landlord_id);
alter table public.houses enable row level security;
alter table public.flats enable row level security;
alter table public.meters enable row level security;
create policy closed on public.houses for select to authenticated using (false);
create policy "of my houses" on public.flats for select to authenticated using (house_id in (select h.id from public.houses h));
create policy "of my flats" on public.meters for select to authenticated using (flat_id in (select f.id from public.flats f));
alter publication supabase_realtime add table public.meters;
