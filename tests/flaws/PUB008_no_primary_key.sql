-- expect: PUB008
-- Shape: page views without any key.
create table public.page_views (
  viewer_id uuid not null default auth.uid(),
  path text not null,
  at timestamptz not null default now()
);
create index on public.page_views (viewer_id);
alter table public.page_views enable row level security;
create policy own on public.page_views for select to authenticated using (viewer_id = (select auth.uid()));
alter publication supabase_realtime add table public.page_views;
