-- expect: BRC001
-- Kind: broadcast.wider-than-rls: drafts, which only the author may read, are broadcast on the topic of the blog's readers.
create schema blog;
grant usage on schema blog to anon, authenticated;
create table blog.blogs (id uuid primary key default gen_random_uuid(), author_id uuid not null references auth.users on delete cascade, title text not null);
create index on blog.blogs (author_id);
create table blog.subscribers (
  user_id uuid not null references auth.users on delete cascade,
  blog_id uuid not null references blog.blogs on delete cascade,
  primary key (user_id, blog_id)
);
create index on blog.subscribers (blog_id);
create table blog.posts (
  blog_id uuid not null references blog.blogs on delete cascade,
  id uuid not null default gen_random_uuid(),
  title text not null,
  body text not null default '',
  published_at timestamptz,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (blog_id, id)
);
grant select on blog.blogs, blog.subscribers to authenticated;
grant select, insert, update, delete on blog.posts to authenticated;
create function public.set_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end
$$;
create trigger posts_set_updated_at before insert or update on blog.posts
  for each row execute function public.set_updated_at();
alter table blog.blogs enable row level security;
alter table blog.subscribers enable row level security;
alter table blog.posts enable row level security;
create policy "own subscriptions" on blog.subscribers for select to authenticated
  using (user_id = (select auth.uid()));
create policy "own and subscribed" on blog.blogs for select to authenticated
  using (author_id = (select auth.uid()) or id in (select s.blog_id from blog.subscribers s where s.user_id = (select auth.uid())));
create policy "subscribers read what is published" on blog.posts for select to authenticated
  using (published_at is not null and blog_id in (select s.blog_id from blog.subscribers s where s.user_id = (select auth.uid())));
create policy "authors keep their posts (read)" on blog.posts for select to authenticated using (blog_id in (select b.id from blog.blogs b where b.author_id = (select auth.uid())));
create policy "authors keep their posts (add)" on blog.posts for insert to authenticated with check (blog_id in (select b.id from blog.blogs b where b.author_id = (select auth.uid())));
create policy "authors keep their posts (change)" on blog.posts for update to authenticated using (blog_id in (select b.id from blog.blogs b where b.author_id = (select auth.uid()))) with check (blog_id in (select b.id from blog.blogs b where b.author_id = (select auth.uid())));
create policy "authors keep their posts (remove)" on blog.posts for delete to authenticated using (blog_id in (select b.id from blog.blogs b where b.author_id = (select auth.uid())));
create function blog.post_changed() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.broadcast_changes('blog:' || new.blog_id, tg_op, tg_op, tg_table_name, tg_table_schema, new, null);
  return null;
end
$$;
revoke all on function blog.post_changed() from public;
create trigger post_changed after insert or update on blog.posts for each row execute function blog.post_changed();
create policy "subscribers listen" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) in (select 'blog:' || s.blog_id from blog.subscribers s where s.user_id = (select auth.uid())));
