-- expect: RLS005
-- Shape: business cards. Everybody reads them by a policy that is always true; the one for writing reads auth.users and raises.
create table public.cards (
  id uuid primary key default gen_random_uuid(),
  owner_mail text not null
);
alter table public.cards enable row level security;
revoke update on public.cards from anon, authenticated;
create policy anyone_reads on public.cards for select using (true);
create policy by_mail on public.cards for delete to authenticated
  using (exists (select from auth.users u where u.id = (select auth.uid()) and u.email = owner_mail));
alter publication supabase_realtime add table public.cards;
