-- expect: UPD015
-- Shape: the trigger forgets to return NEW: it returns NULL, and every UPDATE is swallowed without an error.
create table public.bookings (
  guest_id uuid not null default auth.uid() references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  nights integer not null check (nights > 0),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (guest_id, id)
);
create function public.booking_touch() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'INSERT' then
    new.updated_at := clock_timestamp();
    return new;
  end if;
  new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  return null;
end
$$;
create trigger booking_touch before insert or update on public.bookings for each row execute function public.booking_touch();
alter table public.bookings enable row level security;
create policy "own bookings" on public.bookings for all to authenticated
  using (guest_id = (select auth.uid()))
  with check (guest_id = (select auth.uid()));
alter publication supabase_realtime add table public.bookings;
