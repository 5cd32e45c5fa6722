-- expect: PUB011
-- Shape: support requests in a locked-down schema: the policy names authenticated, the grant was forgotten.
create table public.requests (
  asker_id uuid not null,
  id uuid not null default gen_random_uuid(),
  question text not null,
  primary key (asker_id, id)
);
revoke all on public.requests from anon, authenticated;
alter table public.requests enable row level security;
create policy own on public.requests for select to authenticated using (asker_id = (select auth.uid()));
alter publication supabase_realtime add table public.requests;
