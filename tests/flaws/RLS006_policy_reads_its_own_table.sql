-- expect: RLS006
-- Shape: a membership table whose policy asks itself.
create table public.crew (
  ship_id uuid not null,
  sailor_id uuid not null,
  primary key (ship_id, sailor_id)
);
create index on public.crew (sailor_id);
alter table public.crew enable row level security;
create policy shipmates on public.crew for select to authenticated
  using (ship_id in (select c.ship_id from public.crew c where c.sailor_id = (select auth.uid())));
alter publication supabase_realtime add table public.crew;
