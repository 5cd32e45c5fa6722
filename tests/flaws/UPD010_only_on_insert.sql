-- expect: UPD010
-- Shape: alarms; the trigger fires on INSERT and UPDATE, but its function writes the time on INSERT only.
create table public.alarms (
  house_id uuid not null,
  id uuid not null default gen_random_uuid(),
  armed boolean not null default false,
  updated_at timestamptz not null default now(),
  primary key (house_id, id)
);
create function public.keep() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'INSERT' then
    new.updated_at := clock_timestamp();
  end if;
  return new;
end $$;
create trigger keep before insert or update on public.alarms for each row execute function public.keep();
alter table public.alarms enable row level security;
create policy own on public.alarms for select to authenticated using (house_id = (select auth.uid()));
alter publication supabase_realtime add table public.alarms;
