-- expect: DLV006
-- Shape: rides whose driver is kept in capitals by a trigger.
create table public.rides (driver_id text not null, id uuid not null default gen_random_uuid(), primary key (driver_id, id));
create function public.in_capitals() returns trigger language plpgsql set search_path = '' as $$
begin
  new.driver_id := upper(new.driver_id);
  return new;
end $$;
create trigger in_capitals before insert or update on public.rides for each row execute function public.in_capitals();
alter table public.rides enable row level security;
create policy own on public.rides for select to authenticated using (driver_id = (select auth.uid())::text);
alter publication supabase_realtime add table public.rides;
