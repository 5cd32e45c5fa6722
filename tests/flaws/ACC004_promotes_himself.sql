-- expect: ACC004
-- Shape: a help line; the own-row policy of people covers the column by which volunteers are told from callers.
create table public.people (
  user_id uuid primary key references auth.users, nick text not null, kind text not null default 'caller' check (kind in ('caller', 'volunteer'))
);
create table public.calls (
  caller uuid not null default auth.uid() references auth.users, id uuid not null default gen_random_uuid(), story text not null,
  primary key (caller, id)
);
create function public.volunteers() returns boolean language sql stable security definer set search_path = '' as $$
  select exists (select from public.people p where p.user_id = (select auth.uid()) and p.kind = 'volunteer')
$$;
alter table public.people enable row level security;
alter table public.calls enable row level security;
create policy own on public.people for select to authenticated using (user_id = (select auth.uid()));
create policy change on public.people for update to authenticated
  using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
create policy heard on public.calls for select to authenticated
  using (caller = (select auth.uid()) or (select public.volunteers()));
alter publication supabase_realtime add table public.calls;
revoke execute on function public.volunteers() from public, anon;
