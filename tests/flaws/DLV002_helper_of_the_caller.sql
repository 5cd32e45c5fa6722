-- expect: DLV002
-- Shape: rehearsals of a choir; the helper asks with the rights of the caller a table that has no policy for him.
create table public.choirs (id uuid primary key default gen_random_uuid());
create table public.singers (
  choir_id uuid not null references public.choirs,
  user_id uuid not null references auth.users,
  primary key (user_id, choir_id)
);
create table public.rehearsals (
  choir_id uuid not null references public.choirs,
  id uuid not null default gen_random_uuid(),
  primary key (choir_id, id)
);
create function public.sings_in(choir uuid) returns boolean language sql stable set search_path = '' as $$
  select exists (select from public.singers s where s.choir_id = choir and s.user_id = (select auth.uid()))
$$;
alter table public.choirs enable row level security;
alter table public.singers enable row level security;
alter table public.rehearsals enable row level security;
create policy "singers" on public.rehearsals for select to authenticated using (public.sings_in(choir_id));
alter publication supabase_realtime add table public.rehearsals;
