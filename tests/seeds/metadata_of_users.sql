create type public.app_role as enum ('admin','customer');
create table public.plans (code text primary key, price int not null);
insert into public.plans values ('free',0),('pro',10);
create table public.orgs (id uuid primary key default gen_random_uuid(), name text not null unique, plan text not null default 'free' references public.plans);
create table public.profiles (id uuid primary key references auth.users on delete cascade, username text not null unique check (username ~ '^[a-z0-9_]{3,20}$'), full_name text not null, role public.app_role not null, age int, org_id uuid not null references public.orgs, born date, newsletter boolean not null);
create function public.handle_new_user() returns trigger language plpgsql security definer set search_path = '' as $$
declare o uuid; meta jsonb := new.raw_user_meta_data;
begin
  if new.email not like '%@acme.io' then raise exception 'only acme.io may sign up' using hint = 'x@acme.io'; end if;
  insert into public.orgs (name) values (meta->>'organization') returning id into o;
  insert into public.profiles (id, username, full_name, role, age, org_id, born, newsletter) values (new.id, meta->>'username', meta->>'full_name', (meta->>'role')::public.app_role, (meta->>'age')::int, o, (meta->>'birth')::date, (meta->>'is_news')::boolean);
  return new; end $$;
create trigger t after insert on auth.users for each row execute function public.handle_new_user();
alter table public.plans enable row level security; alter table public.orgs enable row level security; alter table public.profiles enable row level security;
create policy p on public.plans for select using (true);
create policy p on public.profiles for select to authenticated using (id = (select auth.uid()));
create policy p on public.orgs for select to authenticated using (id in (select org_id from public.profiles where id = (select auth.uid())));
alter publication supabase_realtime add table public.plans, public.orgs, public.profiles;
