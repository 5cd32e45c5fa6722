-- expect: ACC002
-- Anybody may comment in anybody's name on public events: in WITH CHECK "own AND member OR public" lets the public branch stand without the author.
create table public.community_events (id uuid primary key default gen_random_uuid(), title text not null, is_public boolean not null default false);
create table public.event_guests (
  event_id uuid not null references public.community_events (id) on delete cascade,
  guest_id uuid not null references auth.users (id) on delete cascade,
  primary key (guest_id, event_id)
);
create index event_guests_event_id_idx on public.event_guests (event_id);
create table public.event_comments (
  id bigint generated always as identity primary key,
  event_id uuid not null references public.community_events (id) on delete cascade,
  author_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  body text not null,
  written_at timestamptz not null default now()
);
create index event_comments_event_id_idx on public.event_comments (event_id);
create index event_comments_author_id_idx on public.event_comments (author_id);
revoke update on public.event_comments from anon, authenticated;
alter table public.community_events enable row level security;
alter table public.event_guests enable row level security;
alter table public.event_comments enable row level security;
create policy own on public.event_guests for select to authenticated using (guest_id = (select auth.uid()));
create policy see on public.community_events for select to authenticated
  using (is_public or id in (select g.event_id from public.event_guests g where g.guest_id = (select auth.uid())));
create policy see on public.event_comments for select to authenticated
  using (event_id in (select e.id from public.community_events e));
create policy write on public.event_comments for insert to authenticated with check (
  author_id = (select auth.uid())
  and event_id in (select g.event_id from public.event_guests g where g.guest_id = (select auth.uid()))
  or event_id in (select e.id from public.community_events e where e.is_public));
create policy remove on public.event_comments for delete to authenticated using (author_id = (select auth.uid()));
alter table public.event_comments replica identity full;
alter publication supabase_realtime add table public.event_comments;
