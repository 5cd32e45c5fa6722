-- expect: RLS001
-- Shape: bank accounts; the policies are there, but RLS was never turned on.
create table public.accounts (
  holder_id uuid not null,
  id uuid not null default gen_random_uuid(),
  cents bigint not null default 0,
  primary key (holder_id, id)
);
create policy own on public.accounts for select to authenticated using (holder_id = (select auth.uid()));
alter publication supabase_realtime add table public.accounts;
