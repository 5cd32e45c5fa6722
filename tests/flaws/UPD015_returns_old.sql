-- expect: UPD015
-- Shape: the trigger returns OLD for updates, so nothing of an UPDATE is kept.
create table public.wishlists (
  owner_id uuid not null default auth.uid() references auth.users on delete cascade,
  id bigint generated always as identity,
  title text not null,
  is_public boolean not null default false,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (owner_id, id)
);
create index on public.wishlists (is_public) where is_public;
create function public.wishlist_guard() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' and length(new.title) > 200 then
    raise exception 'title too long';
  end if;
  return coalesce(old, new);
end
$$;
create trigger a_wishlist_guard before insert or update or delete on public.wishlists for each row execute function public.wishlist_guard();
create function public.touch_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end
$$;
create trigger wishlists_touch_updated_at before insert or update on public.wishlists
  for each row execute function public.touch_updated_at();
alter table public.wishlists enable row level security;
create policy "public lists" on public.wishlists for select using (is_public);
create policy "own lists" on public.wishlists for all to authenticated
  using (owner_id = (select auth.uid()))
  with check (owner_id = (select auth.uid()));
alter publication supabase_realtime add table public.wishlists;
