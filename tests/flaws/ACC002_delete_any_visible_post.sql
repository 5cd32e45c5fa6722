-- expect: ACC002
-- Any signed-in user may delete anybody's published post: the DELETE policy repeats the SELECT policy's "published" instead of the author.
create table public.posts (
  id uuid primary key default gen_random_uuid(),
  author_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  title text not null,
  body text not null default '',
  published boolean not null default false,
  updated_at timestamptz not null default now()
);
create index posts_author_id_idx on public.posts (author_id);
create function public.handle_updated_at() returns trigger as $$
begin
  new.updated_at := case when tg_op = 'INSERT' then clock_timestamp()
    else greatest(clock_timestamp(), old.updated_at + interval '1 microsecond') end;
  return new;
end;
$$ language plpgsql set search_path to '';
create trigger on_change before insert or update on public.posts
  for each row execute function public.handle_updated_at();
alter table public.posts enable row level security;
create policy "Published posts are public" on public.posts for select to anon, authenticated using (published);
create policy "Authors see drafts" on public.posts for select to authenticated using (author_id = (select auth.uid()));
create policy "Authors write" on public.posts for insert to authenticated with check (author_id = (select auth.uid()));
create policy "Authors edit" on public.posts for update to authenticated
  using (author_id = (select auth.uid())) with check (author_id = (select auth.uid()));
create policy "Authors delete" on public.posts for delete to authenticated
  using (published or author_id = (select auth.uid()));
alter table public.posts replica identity full;
alter publication supabase_realtime add table public.posts;
