-- expect: COL003
-- Whoever is signed in reads last year's orders of everybody: the archive has the columns of the protected table and an open policy.
create table public.orders (
  user_id uuid not null default auth.uid() references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  total_cents integer not null,
  note text not null default '',
  primary key (user_id, id)
);
create table public.orders_archive (like public.orders including all);
alter table public.orders enable row level security;
alter table public.orders_archive enable row level security;
create policy own on public.orders for select to authenticated using (user_id = (select auth.uid()));
create policy archive on public.orders_archive for select to authenticated using (true);
alter publication supabase_realtime add table public.orders;
