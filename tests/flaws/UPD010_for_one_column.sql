-- expect: UPD010
-- Shape: tickets; the function looks whether the title differs, and forgets the state.
create table public.tickets (
  reporter_id uuid not null,
  id uuid not null default gen_random_uuid(),
  title text not null,
  state text not null default 'open',
  updated_at timestamptz not null default now(),
  primary key (reporter_id, id)
);
create function public.keep() returns trigger language plpgsql set search_path = '' as $$
begin
  if new.title is distinct from old.title then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  end if;
  return new;
end $$;
create trigger keep before update on public.tickets for each row execute function public.keep();
alter table public.tickets enable row level security;
create policy own on public.tickets for select to authenticated using (reporter_id = (select auth.uid()));
alter publication supabase_realtime add table public.tickets;
