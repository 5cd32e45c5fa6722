-- expect: ACC002
-- Anybody may change bookings that are still tentative, whoever made them: in USING "mine AND confirmed OR tentative" lacks its parentheses.
create type public.booking_state as enum ('tentative', 'confirmed', 'cancelled');
create table public.bookings (
  id bigint generated always as identity primary key,
  guest_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  room_no integer not null,
  night date not null,
  state public.booking_state not null default 'tentative',
  updated_at timestamptz not null default now()
);
create index bookings_guest_id_idx on public.bookings (guest_id);
-- who has which room is on the notice board
revoke delete on public.bookings from anon, authenticated;
revoke update on public.bookings from anon, authenticated;
grant update (room_no, night, state) on public.bookings to authenticated;
create or replace function public.set_updated_at()
returns trigger
language plpgsql
set search_path = ''
as $function$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end;
$function$;
create trigger set_updated_at before insert or update on public.bookings
  for each row execute function public.set_updated_at();
alter table public.bookings enable row level security;
create policy board on public.bookings for select to authenticated using (true);
create policy book on public.bookings for insert to authenticated with check (guest_id = (select auth.uid()) and state = 'tentative');
create policy change on public.bookings for update to authenticated
  using (guest_id = (select auth.uid()) and state = 'confirmed' or state = 'tentative')
  with check (guest_id = (select auth.uid()) and state = 'confirmed' or state in ('tentative', 'cancelled'));
alter table public.bookings replica identity full;
alter publication supabase_realtime add table public.bookings;
