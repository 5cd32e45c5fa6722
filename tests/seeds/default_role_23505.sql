create type public.app_role as enum ('member', 'admin');
create table public.user_role (id bigint generated always as identity primary key, user_id uuid not null references auth.users on delete cascade, role public.app_role not null, unique (user_id, role));
create function public.welcome() returns trigger language plpgsql security definer set search_path = '' as $$ begin insert into public.user_role (user_id, role) values (new.id, 'member'); return new; end $$;
create trigger welcome after insert on auth.users for each row execute function public.welcome();
alter table public.user_role enable row level security;
create policy own on public.user_role for select to authenticated using (user_id = (select auth.uid()));
alter publication supabase_realtime add table public.user_role;
