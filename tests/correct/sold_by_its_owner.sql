-- Shape: a market place. What is sold leaves the public's sight by its owner's will; the owner sees it still.
create type public.bicycle_state as enum ('draft', 'offered', 'sold');
create table public.bicycles (
  seller_id uuid not null references auth.users,
  id uuid not null default gen_random_uuid(),
  state public.bicycle_state not null default 'draft',
  updated_at timestamptz not null default now(),
  primary key (seller_id, id)
);
create function public.touch() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  return new;
end $$;
create trigger touch before update on public.bicycles for each row execute function public.touch();
alter table public.bicycles enable row level security;
create policy "on offer" on public.bicycles for select using (state = 'offered');
create policy "own, read" on public.bicycles for select to authenticated using (seller_id = (select auth.uid()));
create policy "own, change" on public.bicycles for update to authenticated
  using (seller_id = (select auth.uid())) with check (seller_id = (select auth.uid()));
alter publication supabase_realtime add table public.bicycles;
