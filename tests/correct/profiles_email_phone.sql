-- Shape: the sound twin of flaws/COL001_profiles_email_phone.sql.
create table public.profiles (
  id uuid primary key references auth.users (id) on delete cascade,
  username text unique check (char_length(username) >= 3),
  avatar_url text,
  bio text,
  updated_at timestamptz not null default now()
);
create table public.profile_contacts (
  profile_id uuid primary key references public.profiles (id) on delete cascade,
  email text,
  phone text
);
alter table public.profile_contacts enable row level security;
create policy "Contacts are the owner's" on public.profile_contacts for all to authenticated
  using ((select auth.uid()) = profile_id) with check ((select auth.uid()) = profile_id);
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
