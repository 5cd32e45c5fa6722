-- expect: UPD002
-- Shape: habits; updated_at is a timestamp without time zone.
create table public.habits (
  user_id uuid not null,
  id uuid not null default gen_random_uuid(),
  streak integer not null default 0,
  updated_at timestamp not null default localtimestamp,
  primary key (user_id, id)
);
create function public.keep() returns trigger language plpgsql set search_path = '' as $$
begin new.updated_at := greatest(clock_timestamp() at time zone 'UTC', old.updated_at + interval '1 microsecond'); return new; end $$;
create trigger keep before update on public.habits for each row execute function public.keep();
alter table public.habits enable row level security;
create policy own on public.habits for select to authenticated using (user_id = (select auth.uid()));
alter publication supabase_realtime add table public.habits;
