-- expect: WAL003
-- A session without second factor may order transfers: the MFA wall covers SELECT and not INSERT.
create table public.transfers (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  to_iban text not null,
  cents bigint not null check (cents > 0),
  ordered_at timestamptz not null default now()
);
create index transfers_user_id_idx on public.transfers (user_id);
revoke update, delete on public.transfers from anon, authenticated;
alter table public.transfers enable row level security;
create policy own_select on public.transfers for select to authenticated using (user_id = (select auth.uid()));
create policy own_insert on public.transfers for insert to authenticated with check (user_id = (select auth.uid()));
create policy mfa_select on public.transfers as restrictive for select to authenticated using ((select auth.jwt() ->> 'aal') = 'aal2');
alter table public.transfers replica identity full;
alter publication supabase_realtime add table public.transfers;
