create table public.plans (code text primary key check (code in ('free', 'pro')));
insert into public.plans values ('free'), ('pro');
create table public.settings (id boolean primary key default true check (id), open boolean not null default false);
insert into public.settings default values;
create table public.a (id uuid primary key default gen_random_uuid(), user_id uuid not null references auth.users, b_id uuid not null);
create table public.b (id uuid primary key default gen_random_uuid(), a_id uuid not null references public.a deferrable initially deferred);
alter table public.a add foreign key (b_id) references public.b deferrable initially deferred;
create table public.node (id int primary key, parent int not null references public.node, user_id uuid not null references auth.users, plan text not null references public.plans);
create table public.threads (id uuid primary key default gen_random_uuid(), user_id uuid not null references auth.users, last_post uuid);
create table public.posts (id uuid primary key default gen_random_uuid(), thread_id uuid not null references public.threads, body text);
alter table public.threads add foreign key (last_post) references public.posts;
create table public.friends (id int generated always as identity primary key, from_id uuid not null references auth.users, to_id uuid not null references auth.users, check (from_id <> to_id));
create table public.tokens (user_id uuid not null references auth.users, tenant text generated always as ('t') stored, id int primary key, unique (tenant, user_id));
create table public.uses (id int primary key, tenant text generated always as ('t') stored, user_id uuid not null, foreign key (tenant, user_id) references public.tokens (tenant, user_id));
create table public.mails (id int primary key, email text not null);
create table public.sensors (mac macaddr primary key, user_id uuid references auth.users);
create table public.transfers (id int primary key, user_id uuid not null references auth.users);
do $$ declare t text; begin
  foreach t in array array['plans', 'settings', 'a', 'b', 'node', 'threads', 'posts', 'friends', 'tokens', 'uses', 'mails', 'sensors', 'transfers'] loop
    execute format('alter table public.%I enable row level security', t);
  end loop;
  foreach t in array array['a', 'node', 'threads', 'tokens', 'uses', 'sensors', 'transfers'] loop
    execute format('create policy own on public.%I for select to authenticated using (user_id = (select auth.uid()))', t);
  end loop;
end $$;
create policy readable on public.plans for select using (true);
create policy readable on public.settings for select using (true);
create policy own on public.b for select to authenticated using (exists (select 1 from public.a where a.id = a_id and a.user_id = (select auth.uid())));
create policy own on public.posts for select to authenticated using (exists (select 1 from public.threads t where t.id = thread_id and t.user_id = (select auth.uid())));
create policy own on public.friends for select to authenticated using ((select auth.uid()) in (from_id, to_id));
create policy own on public.mails for select to authenticated using (email = (select auth.jwt() ->> 'email'));
create policy factor on public.transfers as restrictive to authenticated using ((select auth.jwt() ->> 'aal') = 'aal2');
