-- expect: FUN004
-- CREATE OR REPLACE in a later migration dropped SET search_path from a SECURITY DEFINER trigger function.
create table public.profiles (
  id uuid primary key references auth.users on delete cascade,
  full_name text,
  avatar_url text,
  updated_at timestamptz not null default clock_timestamp()
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
create trigger profiles_keep_updated_at before insert or update on public.profiles
  for each row execute function public.keep_updated_at();
alter table public.profiles enable row level security;
create policy "own profile" on public.profiles for select to authenticated
  using (id = (select auth.uid()));
create policy "change own profile" on public.profiles for update to authenticated
  using (id = (select auth.uid()))
  with check (id = (select auth.uid()));
create function public.handle_new_user() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.profiles (id, full_name) values (new.id, new.raw_user_meta_data ->> 'full_name');
  return new;
end;
$$;
create trigger on_auth_user_created after insert on auth.users
  for each row execute function public.handle_new_user();
revoke all on function public.handle_new_user() from public, anon, authenticated;

-- 2: with avatar
create or replace function public.handle_new_user() returns trigger
language plpgsql security definer as $$
begin
  insert into profiles (id, full_name, avatar_url)
  values (new.id, new.raw_user_meta_data ->> 'full_name', new.raw_user_meta_data ->> 'avatar_url');
  return new;
end;
$$;
alter publication supabase_realtime add table public.profiles;
