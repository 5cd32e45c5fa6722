create table public.profile (id uuid primary key references auth.users on delete cascade, username text not null check (char_length(username) >= 3));
alter table public.profile enable row level security;
create policy own on public.profile for select to authenticated using (id = (select auth.uid()));
create function public.handle_new_user() returns trigger language plpgsql security definer set search_path = '' as $$
begin insert into public.profile (id, username) values (new.id, new.raw_user_meta_data ->> 'username'); return new; end $$;
create trigger on_auth_user_created after insert on auth.users for each row execute function public.handle_new_user();
create table public.message (id uuid primary key default gen_random_uuid(), profile_id uuid not null references public.profile, body text not null);
create index on public.message (profile_id);
alter table public.message enable row level security;
create policy own on public.message for select to authenticated using (profile_id = (select auth.uid()));
alter publication supabase_realtime add table public.message, public.profile;
