-- expect: UPD005
-- Shape: lamps; the trigger is AFTER UPDATE, where writing NEW changes nothing.
create table public.lamps (
  home_id uuid not null,
  id uuid not null default gen_random_uuid(),
  is_on boolean not null default false,
  updated_at timestamptz not null default now(),
  primary key (home_id, id)
);
create function public.keep() returns trigger language plpgsql set search_path = '' as $$
begin new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond'); return new; end $$;
create trigger keep after update on public.lamps for each row execute function public.keep();
alter table public.lamps enable row level security;
create policy home on public.lamps for select to authenticated using (home_id = (select auth.uid()));
alter publication supabase_realtime add table public.lamps;
