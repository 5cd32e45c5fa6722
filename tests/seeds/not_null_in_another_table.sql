create table public.note (id uuid primary key default gen_random_uuid(), user_id uuid not null default auth.uid() references auth.users, body text not null);
create index on public.note (user_id);
alter table public.note enable row level security;
create policy own on public.note to authenticated using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
alter publication supabase_realtime add table public.note;
create table public.audit (id bigint generated always as identity primary key, actor uuid not null, at timestamptz not null default now());
alter table public.audit enable row level security;
create function public.log_it() returns trigger language plpgsql security definer set search_path = '' as $$
begin insert into public.audit (actor) values (auth.uid()); return null; end $$;
create trigger log_it after insert or update on public.note for each row execute function public.log_it();
