-- Shape: the sound twin of flaws/WAL001_banned_users.sql.
create schema app;
create table app.bans (
  user_id uuid primary key references auth.users (id) on delete cascade,
  reason text not null default '',
  until timestamptz
);
create function app.not_banned() returns boolean language sql stable security definer set search_path = '' as $$
  select not exists (select 1 from app.bans b where b.user_id = (select auth.uid()) and (b.until is null or b.until > now()))
$$;
revoke execute on function app.not_banned() from public;
grant execute on function app.not_banned() to authenticated;
create table public.threads (
  id bigint generated always as identity primary key,
  author_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  subject text not null,
  opening text not null default '',
  updated_at timestamptz not null default now()
);
create index threads_author_id_idx on public.threads (author_id);
create function public.handle_updated_at() returns trigger as $$
begin
  new.updated_at := case when tg_op = 'INSERT' then clock_timestamp()
    else greatest(clock_timestamp(), old.updated_at + interval '1 microsecond') end;
  return new;
end;
$$ language plpgsql set search_path to '';
create trigger on_change before insert or update on public.threads
  for each row execute function public.handle_updated_at();
alter table app.bans enable row level security;
alter table public.threads enable row level security;
create policy "threads are public" on public.threads for select to anon, authenticated using (true);
create policy "open thread" on public.threads for insert to authenticated with check (author_id = (select auth.uid()));
create policy "edit thread" on public.threads for update to authenticated
  using (author_id = (select auth.uid())) with check (author_id = (select auth.uid()));
create policy "delete thread" on public.threads for delete to authenticated using (author_id = (select auth.uid()));
create policy "banned users cannot write" on public.threads as restrictive for insert to authenticated with check ((select app.not_banned()));
create policy "banned users cannot edit" on public.threads as restrictive for update to authenticated using ((select app.not_banned()));
create policy "banned users cannot delete" on public.threads as restrictive for delete to authenticated using ((select app.not_banned()));
alter table public.threads replica identity full;
alter publication supabase_realtime add table public.threads;
