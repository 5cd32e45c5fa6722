-- expect: WAL003
-- Technicians may change and move assets of other customers: the restrictive wall exists for SELECT, INSERT and DELETE; UPDATE was forgotten.
create table public.assets (
  id uuid primary key default gen_random_uuid(),
  customer_no text not null,
  name text not null,
  condition smallint not null default 5 check (condition between 1 and 5),
  updated_at timestamptz not null default now()
);
create index assets_customer_no_idx on public.assets (customer_no);
create function public.touch() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end $$;
create trigger touch before insert or update on public.assets
  for each row execute function public.touch();
alter table public.assets enable row level security;
create policy technicians on public.assets for all to authenticated
  using ((select auth.jwt() -> 'app_metadata' ->> 'role') = 'technician')
  with check ((select auth.jwt() -> 'app_metadata' ->> 'role') = 'technician');
create policy customer_sel on public.assets as restrictive for select to authenticated
  using (customer_no = (select auth.jwt() -> 'app_metadata' ->> 'customer_no'));
create policy customer_ins on public.assets as restrictive for insert to authenticated
  with check (customer_no = (select auth.jwt() -> 'app_metadata' ->> 'customer_no'));
create policy customer_del on public.assets as restrictive for delete to authenticated
  using (customer_no = (select auth.jwt() -> 'app_metadata' ->> 'customer_no'));
alter table public.assets replica identity full;
alter publication supabase_realtime add table public.assets;
