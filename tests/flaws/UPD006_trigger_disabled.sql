-- expect: UPD006
-- Shape: shipments; the trigger was disabled for an import and never enabled again.
create table public.shipments (
  buyer_id uuid not null,
  id uuid not null default gen_random_uuid(),
  stage text not null default 'packed',
  updated_at timestamptz not null default now(),
  primary key (buyer_id, id)
);
create function public.keep() returns trigger language plpgsql set search_path = '' as $$
begin new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond'); return new; end $$;
create trigger keep before update on public.shipments for each row execute function public.keep();
alter table public.shipments disable trigger keep;
alter table public.shipments enable row level security;
create policy own on public.shipments for select to authenticated using (buyer_id = (select auth.uid()));
alter publication supabase_realtime add table public.shipments;
