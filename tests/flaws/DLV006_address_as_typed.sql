-- expect: DLV006
-- Shape: invitations to a calendar; whoever invites types the address.
create table public.calendar_shares (
  owner_id uuid not null references auth.users,
  id uuid not null default gen_random_uuid(),
  guest_email text not null,
  primary key (owner_id, id)
);
create index on public.calendar_shares (guest_email);
alter table public.calendar_shares enable row level security;
create policy "owner, read" on public.calendar_shares for select to authenticated using (owner_id = (select auth.uid()));
create policy "owner, invite" on public.calendar_shares for insert to authenticated with check (owner_id = (select auth.uid()));
create policy "guest" on public.calendar_shares for select to authenticated
  using (guest_email = (select auth.jwt() ->> 'email'));
alter publication supabase_realtime add table public.calendar_shares;
