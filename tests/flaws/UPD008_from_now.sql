-- expect: UPD008
-- Shape: goals of a team, stamped with now().
create table public.goals (
  team_id uuid not null,
  id uuid not null default gen_random_uuid(),
  percent integer not null default 0,
  updated_at timestamptz not null default now(),
  primary key (team_id, id)
);
create function public.keep() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at = now();
  return new;
end $$;
create trigger keep before update on public.goals for each row execute function public.keep();
alter table public.goals enable row level security;
create policy team on public.goals for select to authenticated
  using (team_id = (select (auth.jwt() -> 'app_metadata' ->> 'team_id')::uuid));
alter publication supabase_realtime add table public.goals;
