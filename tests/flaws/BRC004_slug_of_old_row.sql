-- expect: BRC004
-- Kind: broadcast.old-topic-after-rename: the topic is made from old.slug: after a page is renamed, its change is told on the topic of the former name, which nobody may join any more.
create table public.pages (
  owner_id uuid not null default auth.uid() references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  slug text not null check (slug ~ '^[a-z0-9-]{2,60}$'),
  title text not null default '',
  updated_at timestamptz not null default clock_timestamp(),
  primary key (owner_id, id),
  unique (slug)
);
create schema private;
create function public.keep_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end
$$;
create trigger pages_keep_updated_at before insert or update on public.pages
  for each row execute function public.keep_updated_at();
alter table public.pages enable row level security;
create policy "own pages (read)" on public.pages for select to authenticated using (owner_id = (select auth.uid()));
create policy "own pages (add)" on public.pages for insert to authenticated with check (owner_id = (select auth.uid()));
create policy "own pages (change)" on public.pages for update to authenticated using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));
create policy "own pages (remove)" on public.pages for delete to authenticated using (owner_id = (select auth.uid()));
create function private.tell_page() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.broadcast_changes('page:' || coalesce(old.slug, new.slug), tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
  return null;
end
$$;
revoke all on function private.tell_page() from public;
create trigger tell_page after insert or update or delete on public.pages for each row execute function private.tell_page();
create policy "owner of the page" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and exists (select 1 from public.pages p where p.owner_id = (select auth.uid()) and 'page:' || p.slug = (select realtime.topic())));
