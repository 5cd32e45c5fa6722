-- expect: PUB008
-- Shape: seats of a theatre; REPLICA IDENTITY NOTHING "to save WAL".
create table public.seats (
  show_id uuid not null,
  seat_no integer not null,
  taken_by uuid,
  primary key (show_id, seat_no)
);
create index on public.seats (taken_by);
alter table public.seats replica identity nothing;
alter table public.seats enable row level security;
create policy own on public.seats for select to authenticated using (taken_by = (select auth.uid()));
alter publication supabase_realtime add table public.seats;
