-- expect: ACC006
-- Shape: readings by year; only the root of the divided table has policies for clients, and its DELETE asks for nothing of the row.
create table public.readings (
  meter_owner uuid not null references auth.users, at timestamptz not null, kwh numeric not null, primary key (meter_owner, at)
) partition by range (at);
create table public.readings_2026 partition of public.readings for values from ('2026-01-01') to ('2027-01-01');
create table public.tariffs (id integer primary key, name text not null);
revoke all on public.readings_2026 from anon, authenticated;
alter table public.readings enable row level security;
alter table public.readings_2026 enable row level security;
alter table public.tariffs enable row level security;
create policy own on public.readings for select to authenticated using (meter_owner = (select auth.uid()));
create policy prune on public.readings for delete to authenticated using ((select auth.uid()) is not null and kwh >= 0);
create policy asked on public.tariffs for select using (true);
alter publication supabase_realtime add table public.tariffs;
