-- expect: UPD005
-- Shape: plants; the trigger writes last_watered instead of updated_at.
create table public.plants (
  gardener_id uuid not null,
  id uuid not null default gen_random_uuid(),
  moisture integer not null default 0,
  last_watered timestamptz,
  updated_at timestamptz not null default now(),
  primary key (gardener_id, id)
);
create function public.keep() returns trigger language plpgsql set search_path = '' as $$
begin
  new.last_watered := clock_timestamp();
  return new;
end $$;
create trigger keep before update on public.plants for each row execute function public.keep();
alter table public.plants enable row level security;
create policy own on public.plants for select to authenticated using (gardener_id = (select auth.uid()));
alter publication supabase_realtime add table public.plants;
