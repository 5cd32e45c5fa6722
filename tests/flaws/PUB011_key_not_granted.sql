-- expect: PUB011
-- Shape: a directory; column grants leave out the key.
create table public.people (
  id uuid primary key default gen_random_uuid(),
  name text not null,
  phone_private text
);
alter table public.people enable row level security;
create policy read on public.people for select to authenticated using (true);
revoke all on public.people from anon, authenticated;
grant select (name) on public.people to authenticated;
alter publication supabase_realtime add table public.people;
