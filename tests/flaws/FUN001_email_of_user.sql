-- expect: FUN001
-- Any visitor turns a user id into the e-mail address kept in auth.users.
create table public.profiles (
  id uuid primary key references auth.users on delete cascade,
  handle text not null unique check (handle ~ '^[a-z0-9_]{3,30}$'),
  bio text not null default '',
  updated_at timestamptz not null default clock_timestamp()
);
create table public.newsletters (
  author_id uuid not null references public.profiles on delete cascade,
  id uuid not null default gen_random_uuid(),
  subject text not null,
  sent_at timestamptz,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (author_id, id)
);
create function public.touch_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end
$$;
create trigger profiles_touch_updated_at before insert or update on public.profiles
  for each row execute function public.touch_updated_at();
create trigger newsletters_touch_updated_at before insert or update on public.newsletters
  for each row execute function public.touch_updated_at();
alter table public.profiles enable row level security;
alter table public.newsletters enable row level security;
create policy "profiles are public" on public.profiles for select using (true);
create policy "own profile" on public.profiles for insert to authenticated
  with check (id = (select auth.uid()));
create policy "change own profile" on public.profiles for update to authenticated
  using (id = (select auth.uid()))
  with check (id = (select auth.uid()));
create policy "own newsletters (read)" on public.newsletters for select to authenticated using (author_id = (select auth.uid()));
create policy "own newsletters (add)" on public.newsletters for insert to authenticated with check (author_id = (select auth.uid()));
create policy "own newsletters (change)" on public.newsletters for update to authenticated using (author_id = (select auth.uid())) with check (author_id = (select auth.uid()));
create policy "own newsletters (remove)" on public.newsletters for delete to authenticated using (author_id = (select auth.uid()));
-- the mailer (an edge function) looks the address up
create function public.email_for_user(user_id uuid) returns text
language sql stable security definer set search_path = ''
as $$ select u.email::text from auth.users u where u.id = email_for_user.user_id $$;
comment on function public.email_for_user(uuid) is 'called by the mailer';
alter publication supabase_realtime add table public.newsletters;
