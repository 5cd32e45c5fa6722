-- Shape: a blog. Everybody reads what is published, authors write their own; a catalogue that nobody but the server writes.
create table public.authors (
  user_id uuid primary key references auth.users on delete cascade,
  display_name text not null
);
create table public.posts (
  id uuid primary key default gen_random_uuid(),
  author_id uuid not null default auth.uid() references public.authors,
  slug text not null unique,
  title text not null,
  body text not null default '',
  published boolean not null default false,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
create index posts_author_id_idx on public.posts (author_id);
alter table public.posts replica identity full;
create table public.countries (
  code text primary key check (code ~ '^[A-Z]{2}$'),
  name text not null
);

create function public.touch() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  return new;
end $$;
create trigger posts_touch before insert or update on public.posts for each row execute function public.touch();

alter table public.authors enable row level security;
alter table public.posts enable row level security;
alter table public.countries enable row level security;
create policy "anyone reads authors" on public.authors for select using (true);
create policy "own profile" on public.authors for insert to authenticated with check (user_id = (select auth.uid()));
create policy "anyone reads published posts" on public.posts for select using (published);
create policy "authors read their drafts" on public.posts for select to authenticated using (author_id = (select auth.uid()));
create policy "authors write" on public.posts for insert to authenticated with check (author_id = (select auth.uid()));
create policy "authors change" on public.posts for update to authenticated
  using (author_id = (select auth.uid())) with check (author_id = (select auth.uid()));
create policy "authors delete" on public.posts for delete to authenticated using (author_id = (select auth.uid()));
create policy "anyone reads countries" on public.countries for select using (true);

create view public.titles with (security_invoker = true) as select id, title from public.posts;

alter publication supabase_realtime add table public.posts, public.countries;
