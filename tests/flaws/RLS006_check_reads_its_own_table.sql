-- expect: RLS006
-- Shape: guests of a party; whoever is on the list may add others, which the INSERT policy asks of the list itself.
create table public.guests (
  party_id uuid not null,
  guest_id uuid not null,
  primary key (guest_id, party_id)
);
alter table public.guests enable row level security;
create policy own on public.guests for select to authenticated using (guest_id = (select auth.uid()));
create policy invite on public.guests for insert to authenticated
  with check (party_id in (select g.party_id from public.guests g where g.guest_id = (select auth.uid())));
alter publication supabase_realtime add table public.guests;
