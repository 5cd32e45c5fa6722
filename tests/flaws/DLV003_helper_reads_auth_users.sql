-- expect: DLV003
-- Shape: a forum for people whose address is confirmed; the helper runs as the caller, who may not read auth.users.
create table public.threads (
  author_id uuid not null references auth.users,
  id uuid not null default gen_random_uuid(),
  primary key (author_id, id)
);
create function public.is_confirmed() returns boolean language plpgsql stable set search_path = '' as $$
begin
  return exists (select from auth.users u where u.id = (select auth.uid()) and u.email is not null);
end $$;
alter table public.threads enable row level security;
create policy "confirmed people" on public.threads for select to authenticated
  using (author_id = (select auth.uid()) and public.is_confirmed());
alter publication supabase_realtime add table public.threads;
