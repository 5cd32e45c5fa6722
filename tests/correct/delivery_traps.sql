-- Shape: a workshop that rents out tools. Every second line has the shape of something that goes wrong elsewhere.
create type public.rental_state as enum ('asked', 'granted', 'over');
create table public.workshops (id uuid primary key default gen_random_uuid(), name text not null);
create table public.workshop_people (
  workshop_id uuid not null references public.workshops on delete cascade,
  user_id uuid not null references auth.users on delete cascade,
  role text not null default 'helper' check (role in ('helper', 'keeper')),
  primary key (user_id, workshop_id)
);
create index on public.workshop_people (workshop_id);
create table public.tools (
  workshop_id uuid not null references public.workshops on delete cascade,
  id uuid not null default gen_random_uuid(),
  label text not null,
  state public.rental_state not null default 'asked',
  sensitive boolean not null default false,
  folder text not null default 'shared/tool' check (folder ~ '^(shared|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})/'),
  extras jsonb not null default '{}' check (jsonb_typeof(extras) = 'object'),
  removed_at timestamptz,
  primary key (workshop_id, id)
);
create table public.tool_notes (
  workshop_id uuid not null,
  tool_id uuid not null,
  id bigint generated always as identity,
  body text not null default '',
  primary key (workshop_id, tool_id, id),
  foreign key (workshop_id, tool_id) references public.tools on delete cascade
);
create table public.letters (
  sender_id uuid not null references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  to_email text not null check (to_email = lower(to_email)),
  body text not null default '',
  shown_until timestamptz,
  primary key (sender_id, id)
);
create index on public.letters (to_email);

alter table public.workshops enable row level security;
alter table public.workshop_people enable row level security;
alter table public.tools enable row level security;
alter table public.tool_notes enable row level security;
alter table public.letters enable row level security;

create policy "own entries" on public.workshop_people for select to authenticated using (user_id = (select auth.uid()));
create policy "my workshops" on public.workshops for select to authenticated
  using (id in (select p.workshop_id from public.workshop_people p where p.user_id = (select auth.uid())));
-- Removed tools stay in sight, so that everybody hears of it; the cast is made of what a CASE has looked at.
create policy "people of the workshop" on public.tools for select to authenticated
  using (workshop_id in (select p.workshop_id from public.workshop_people p where p.user_id = (select auth.uid()))
    and state in ('asked', 'granted', 'over') and case when folder ~ '^shared/' then true
      else split_part(folder, '/', 1)::uuid = (select auth.uid()) end);
-- aal2 is a level that tokens have, and service_role a role: neither condition is dead.
create policy "second factor for some" on public.tools as restrictive for select to authenticated
  using (not sensitive or (select auth.jwt() ->> 'aal') = 'aal2' or (select auth.role()) = 'service_role');
-- What the tools' own policies let one see decides.
create policy "notes of tools that one sees" on public.tool_notes for select to authenticated
  using (exists (select from public.tools t where t.workshop_id = tool_notes.workshop_id and t.id = tool_notes.tool_id));
create policy "sender" on public.letters for select to authenticated using (sender_id = (select auth.uid()));
create policy "receiver, for a while" on public.letters for select to authenticated
  using (to_email = (select auth.jwt() ->> 'email') and (shown_until is null or shown_until > now()));
create policy "write" on public.letters for insert to authenticated with check (sender_id = (select auth.uid()));

create schema worker;
create function worker.remove_tool(tool uuid) returns void language sql set search_path = '' as $$
  update public.tools set removed_at = now(), state = 'over' where id = tool
$$;
-- What is shown until a certain time leaves sight at that time, which its readers know.
create function worker.take_back(letter uuid) returns void language sql set search_path = '' as $$
  update public.letters set shown_until = now() where id = letter
$$;
revoke all on all functions in schema worker from public;

-- Other publications that do no harm.
create table public.knocks (at timestamptz not null default now(), door text not null);
alter table public.knocks enable row level security;
create table public.counts (at timestamptz not null default now(), door text not null);
alter table public.counts replica identity full;
alter table public.counts enable row level security;
create publication doors for table public.knocks with (publish = 'insert');
create publication warehouse for table public.counts, public.tools (workshop_id, id, label), public.letters where (sender_id is not null);
alter publication supabase_realtime add table public.tools, public.tool_notes, public.letters;
