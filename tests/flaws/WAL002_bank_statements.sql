-- expect: WAL002
-- Every user reads every account's statements: to be signed in is all that is asked.
create table public.statements (
  id bigint generated always as identity primary key,
  account_holder uuid not null default auth.uid() references auth.users on delete cascade,
  cents bigint not null
);
create index on public.statements (account_holder);
alter table public.statements enable row level security;
create policy members on public.statements for select to authenticated using ((select auth.role()) in ('authenticated', 'service_role'));
revoke insert, update, delete on public.statements from anon, authenticated;
alter publication supabase_realtime add table public.statements;
