-- expect: ACC001
-- Shape: galleries and curators; team_id in the subquery means the subquery's own column, so it compares it with itself.
create table public.galleries (id uuid primary key default gen_random_uuid(), name text not null);
create table public.curators (
  gallery_id uuid not null references public.galleries,
  user_id uuid not null references auth.users,
  primary key (user_id, gallery_id)
);
create table public.paintings (
  gallery_id uuid not null references public.galleries,
  id uuid not null default gen_random_uuid(),
  title text not null,
  primary key (gallery_id, id)
);
alter table public.galleries enable row level security;
alter table public.curators enable row level security;
alter table public.paintings enable row level security;
create policy own on public.curators for select to authenticated using (user_id = (select auth.uid()));
create policy curated on public.paintings for select to authenticated using (exists (
  select 1 from public.curators c where c.gallery_id = gallery_id and c.user_id = (select auth.uid())
));
alter publication supabase_realtime add table public.paintings;
