-- expect: ACC006
-- A carer may change visits (times, notes) of colleagues in his region, which he may not even read: UPDATE asks for the region, SELECT for the assignee.
create schema private;
create table public.carers (
  user_id uuid primary key references auth.users (id) on delete cascade,
  region text not null check (region in ('north', 'south'))
);
create table public.visits (
  id uuid primary key default gen_random_uuid(),
  region text not null check (region in ('north', 'south')),
  carer_id uuid not null references public.carers (user_id) on delete cascade,
  note text not null default '',
  planned_at timestamptz not null,
  updated_at timestamptz not null default now()
);
create index visits_region_idx on public.visits (region);
create index visits_carer_id_idx on public.visits (carer_id);
revoke insert, delete on public.visits from anon, authenticated;
revoke update on public.visits from anon, authenticated;
grant update (note, planned_at) on public.visits to authenticated;
revoke insert, update, delete on public.carers from anon, authenticated;
create function private.my_region() returns text language sql stable security definer set search_path = '' as $$
  select c.region from public.carers c where c.user_id = (select auth.uid())
$$;
revoke all on function private.my_region() from public, anon;
grant execute on function private.my_region() to authenticated, service_role;
create or replace function public.keep_updated_at()
returns trigger
language plpgsql
set search_path = ''
as $function$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end;
$function$;
create trigger trg_updated_at before insert or update on public.visits
  for each row execute function public.keep_updated_at();
alter table public.carers enable row level security;
alter table public.visits enable row level security;
create policy self on public.carers for select to authenticated using (user_id = (select auth.uid()));
create policy own_visits on public.visits for select to authenticated
  using (carer_id = (select auth.uid()) and region = (select private.my_region()));
create policy note_visits on public.visits for update to authenticated
  using (region = (select private.my_region())) with check (region = (select private.my_region()));
alter table public.visits replica identity full;
alter publication supabase_realtime add table public.visits;
