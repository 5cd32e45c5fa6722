-- expect: COL001
-- Anonymous visitors read everybody's email address and phone number: profiles are public by design, and these two columns stand in the same row.
create table public.profiles (
  id uuid primary key references auth.users (id) on delete cascade,
  username text unique check (char_length(username) >= 3),
  avatar_url text,
  bio text,
  email text,
  phone text,
  updated_at timestamptz not null default now()
);
create or replace function public.touch()
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
create trigger touch before insert or update on public.profiles
  for each row execute function public.touch();
alter table public.profiles enable row level security;
create policy "Public profiles are viewable by everyone." on public.profiles for select to anon, authenticated using (true);
create policy "Users can insert their own profile." on public.profiles for insert to authenticated with check ((select auth.uid()) = id);
create policy "Users can update own profile." on public.profiles for update to authenticated
  using ((select auth.uid()) = id) with check ((select auth.uid()) = id);
alter table public.profiles replica identity full;
alter publication supabase_realtime add table public.profiles;
