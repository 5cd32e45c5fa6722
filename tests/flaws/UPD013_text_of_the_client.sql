-- expect: UPD013
-- Shape: shopping lists that a phone keeps while it is offline; the server believes the phone's clock.
create table public.list_items (
  owner_id uuid not null default auth.uid(),
  id uuid not null default gen_random_uuid(),
  label text not null default '',
  device_clock text,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (owner_id, id)
);
create function public.stamp_item() returns trigger language plpgsql set search_path = '' as $$
begin
  if new.device_clock is null then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := new.device_clock::timestamptz;
  end if;
  return new;
end $$;
create trigger stamp_item before insert or update on public.list_items for each row execute function public.stamp_item();
alter table public.list_items enable row level security;
create policy own on public.list_items for all to authenticated
  using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));
alter publication supabase_realtime add table public.list_items;
