-- expect: UPD002
-- Shape: timestamptz(0): two changes within a second look like one.
create table public.machines (id uuid primary key default gen_random_uuid(), owner_id uuid not null default auth.uid() references auth.users on delete cascade, name text not null);
create index on public.machines (owner_id);
create table public.heartbeats (
  machine_id uuid not null references public.machines on delete cascade,
  probe_id uuid not null,
  status text not null default 'up' check (status in ('up', 'down')),
  updated_at timestamptz(0) not null default clock_timestamp(),
  primary key (machine_id, probe_id)
);
create function public.keep_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end
$$;
create trigger heartbeats_keep_updated_at before insert or update on public.heartbeats
  for each row execute function public.keep_updated_at();
alter table public.machines enable row level security;
alter table public.heartbeats enable row level security;
create policy "own machines" on public.machines for all to authenticated
  using (owner_id = (select auth.uid()))
  with check (owner_id = (select auth.uid()));
create policy "of own machines (read)" on public.heartbeats for select to authenticated using (machine_id in (select m.id from public.machines m where m.owner_id = (select auth.uid())));
create policy "of own machines (add)" on public.heartbeats for insert to authenticated with check (machine_id in (select m.id from public.machines m where m.owner_id = (select auth.uid())));
create policy "of own machines (change)" on public.heartbeats for update to authenticated using (machine_id in (select m.id from public.machines m where m.owner_id = (select auth.uid()))) with check (machine_id in (select m.id from public.machines m where m.owner_id = (select auth.uid())));
create policy "of own machines (remove)" on public.heartbeats for delete to authenticated using (machine_id in (select m.id from public.machines m where m.owner_id = (select auth.uid())));
alter publication supabase_realtime add table public.heartbeats;
