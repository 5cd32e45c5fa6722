-- Shape: everybody reads posts but the deleted ones, and authors their own deleted ones, too; readers like and count views by function.
create table public.posts (
  id uuid primary key default gen_random_uuid(),
  author_id uuid not null default auth.uid() references auth.users on delete cascade,
  body text not null,
  views integer not null default 0,
  deleted_at timestamptz
);
create index on public.posts (author_id);
alter table public.posts enable row level security;
create policy "readers see posts" on public.posts for select using (deleted_at is null);
create policy "authors see theirs" on public.posts for select to authenticated using (author_id = (select auth.uid()));
create policy "authors write" on public.posts for insert to authenticated with check (author_id = (select auth.uid()));
revoke update, delete on public.posts from anon, authenticated;
create function public.count_view(post uuid) returns void language sql security definer set search_path = '' as $$
  update public.posts set views = views + 1 where id = post and deleted_at is null
$$;
create table public.likes (
  post_id uuid not null references public.posts on delete cascade,
  user_id uuid not null references auth.users on delete cascade,
  primary key (post_id, user_id)
);
create index on public.likes (user_id);
alter table public.likes enable row level security;
create policy own on public.likes for select to authenticated using (user_id = (select auth.uid()));
create function public.like_post(post uuid) returns bigint language plpgsql security definer set search_path = '' as $$
begin
  if auth.uid() is null then
    raise exception 'not signed in' using errcode = '42501';
  end if;
  insert into public.likes (post_id, user_id) values (post, auth.uid()) on conflict do nothing;
  return (select count(*) from public.likes l where l.post_id = post);
end $$;
revoke execute on function public.like_post(uuid) from public, anon;
revoke insert, update, delete on public.likes from anon, authenticated;
alter publication supabase_realtime add table public.posts;
