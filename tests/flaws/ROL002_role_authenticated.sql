-- expect: ROL002
-- Signed-in users get an error from every protected table: row_security = off is set for the role authenticated.
create table public.recipes (
  id uuid primary key default gen_random_uuid(),
  cook_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  title text not null,
  steps text[] not null default '{}',
  updated_at timestamptz not null default now()
);
create index recipes_cook_id_idx on public.recipes (cook_id);
create function public.handle_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end $$;
create trigger on_change before insert or update on public.recipes
  for each row execute function public.handle_updated_at();
alter table public.recipes enable row level security;
create policy cooks_own on public.recipes for all to authenticated
  using (cook_id = (select auth.uid())) with check (cook_id = (select auth.uid()));
alter table public.recipes replica identity full;
alter publication supabase_realtime add table public.recipes;
alter role authenticated set statement_timeout = '8s';
alter role authenticated set row_security = off;
