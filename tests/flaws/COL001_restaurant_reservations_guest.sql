-- expect: COL001
-- Everybody who looks at a public event reads the guests' email, dietary notes and IP address: the guest list is public and holds them.
create table public.events (
  slug text primary key,
  host_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  title text not null,
  updated_at timestamptz not null default now()
);
create index events_host_id_idx on public.events (host_id);
create table public.event_rsvps (
  event_slug text not null references public.events (slug) on delete cascade,
  user_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  guest_name text not null,
  going boolean not null default true,
  contact_email text,
  dietary_notes text,
  ip_address inet,
  updated_at timestamptz not null default now(),
  primary key (event_slug, user_id)
);
create index event_rsvps_user_id_idx on public.event_rsvps (user_id);
create function public.touch() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end $$;
create trigger touch before insert or update on public.events
  for each row execute function public.touch();
create trigger touch before insert or update on public.event_rsvps
  for each row execute function public.touch();
alter table public.events enable row level security;
alter table public.event_rsvps enable row level security;
create policy everyone on public.events for select to anon, authenticated using (true);
create policy hosts_insert on public.events for insert to authenticated with check (host_id = (select auth.uid()));
create policy hosts_update on public.events for update to authenticated
  using (host_id = (select auth.uid())) with check (host_id = (select auth.uid()));
create policy guest_list on public.event_rsvps for select to anon, authenticated using (true);
create policy answer on public.event_rsvps for insert to authenticated with check (user_id = (select auth.uid()));
create policy change_answer on public.event_rsvps for update to authenticated
  using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
create policy withdraw on public.event_rsvps for delete to authenticated using (user_id = (select auth.uid()));
alter publication supabase_realtime add table public.events;
create function public.keep_event_host() returns trigger language plpgsql set search_path = '' as $$
begin
  new.host_id := old.host_id;
  return new;
end $$;
create trigger keep_event_host before update on public.events for each row execute function public.keep_event_host();
