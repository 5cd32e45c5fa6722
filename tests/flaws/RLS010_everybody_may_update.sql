-- expect: RLS010
-- Shape: profiles that everybody reads, and everybody may change.
create table public.profiles (
  id uuid primary key,
  display_name text not null,
  updated_at timestamptz not null default now()
);
create function public.keep() returns trigger language plpgsql set search_path = '' as $$
begin new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond'); return new; end $$;
create trigger keep before update on public.profiles for each row execute function public.keep();
alter table public.profiles enable row level security;
create policy read on public.profiles for select using (true);
create policy change on public.profiles for update to authenticated using (true) with check (true);
alter publication supabase_realtime add table public.profiles;
