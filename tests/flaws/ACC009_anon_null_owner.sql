-- expect: ACC009
-- Anonymous visitors (auth.uid() is null) may change and delete every paste without an owner: the policy says IS NOT DISTINCT FROM and is for public.
create table public.pastes (
  id uuid primary key default gen_random_uuid(),
  owner_id uuid default auth.uid() references auth.users (id) on delete set null,
  body text not null check (length(body) < 50000),
  updated_at timestamptz not null default now()
);
create index pastes_owner_id_idx on public.pastes (owner_id);
create function public.touch() returns trigger as $$
begin
  new.updated_at := case when tg_op = 'INSERT' then clock_timestamp()
    else greatest(clock_timestamp(), old.updated_at + interval '1 microsecond') end;
  return new;
end;
$$ language plpgsql set search_path to '';
create trigger touch before insert or update on public.pastes
  for each row execute function public.touch();
alter table public.pastes enable row level security;
create policy "pastes are public" on public.pastes for select to anon, authenticated using (true);
create policy "signed-in people paste" on public.pastes for insert to authenticated with check (owner_id = (select auth.uid()));
create policy "owners edit" on public.pastes for update
  using (owner_id is not distinct from (select auth.uid()))
  with check (owner_id is not distinct from (select auth.uid()));
create policy "owners delete" on public.pastes for delete to authenticated using (owner_id = (select auth.uid()));
alter table public.pastes replica identity full;
alter publication supabase_realtime add table public.pastes;
