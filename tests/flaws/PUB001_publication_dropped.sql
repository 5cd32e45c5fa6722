-- expect: PUB001
-- Shape: chores of a household, owned by a user. Somebody dropped the publication to "reset Realtime".
create table public.chores (
  owner_id uuid not null,
  id bigint generated always as identity,
  what text not null,
  primary key (owner_id, id)
);
alter table public.chores enable row level security;
create policy own on public.chores for select to authenticated using (owner_id = (select auth.uid()));
drop publication supabase_realtime;
