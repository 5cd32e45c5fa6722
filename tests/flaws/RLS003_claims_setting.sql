-- expect: RLS003
-- Shape: parking lots; the claim is read from the setting itself, for every row.
create table public.lots (
  city_id uuid not null,
  id uuid not null default gen_random_uuid(),
  free integer not null default 0,
  primary key (city_id, id)
);
alter table public.lots enable row level security;
create policy city on public.lots for select to authenticated
  using (city_id = (current_setting('request.jwt.claims', true)::jsonb -> 'app_metadata' ->> 'city_id')::uuid);
alter publication supabase_realtime add table public.lots;
