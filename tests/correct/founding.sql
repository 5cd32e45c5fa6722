-- Shape: whoever is signed in founds a club and is its first member by a trigger; only open clubs are joined, as a plain member;
-- the master of a club does not reach another's.
create table public.clubs (
  id uuid primary key default gen_random_uuid(), name text not null, is_open boolean not null default false,
  created_by uuid not null default auth.uid() references auth.users
);
create index on public.clubs (created_by);
create table public.club_members (
  club_id uuid not null references public.clubs on delete cascade, user_id uuid not null references auth.users on delete cascade,
  rank text not null default 'plain' check (rank in ('plain', 'master')), primary key (user_id, club_id)
);
create index on public.club_members (club_id);
create table public.minutes (
  club_id uuid not null references public.clubs on delete cascade, id uuid not null default gen_random_uuid(),
  author_id uuid not null default auth.uid() references auth.users, body text not null, primary key (club_id, id)
);
create index on public.minutes (author_id);
create function public.rank_in(club uuid) returns text language sql stable security definer set search_path = '' as $$
  select m.rank from public.club_members m where m.club_id = club and m.user_id = (select auth.uid())
$$;
revoke all on function public.rank_in(uuid) from public, anon;
grant execute on function public.rank_in(uuid) to authenticated;
create function public.first_member() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  insert into public.club_members (club_id, user_id, rank) values (new.id, new.created_by, 'master') on conflict do nothing;
  return null;
end $$;
revoke all on function public.first_member() from public, anon, authenticated;
create trigger first_member after insert on public.clubs for each row execute function public.first_member();
revoke all on public.clubs, public.club_members, public.minutes from anon;
revoke update on public.club_members from authenticated;
alter table public.clubs enable row level security;
alter table public.club_members enable row level security;
alter table public.minutes enable row level security;
create policy seen on public.clubs for select to authenticated using (is_open or public.rank_in(id) is not null);
create policy found on public.clubs for insert to authenticated with check (created_by = (select auth.uid()));
create policy rename on public.clubs for update to authenticated
  using (public.rank_in(id) = 'master') with check (public.rank_in(id) = 'master' and created_by = (select auth.uid()));
create policy seen on public.club_members for select to authenticated using (public.rank_in(club_id) is not null);
create policy join_open_ones on public.club_members for insert to authenticated
  with check (user_id = (select auth.uid()) and rank = 'plain' and club_id in (select c.id from public.clubs c where c.is_open));
create policy leave on public.club_members for delete to authenticated using (user_id = (select auth.uid()));
create policy read on public.minutes for select to authenticated using (public.rank_in(club_id) is not null);
create policy write on public.minutes for insert to authenticated
  with check (author_id = (select auth.uid()) and public.rank_in(club_id) is not null);
create policy correct on public.minutes for update to authenticated
  using (author_id = (select auth.uid()) and public.rank_in(club_id) is not null)
  with check (author_id = (select auth.uid()) and public.rank_in(club_id) is not null);
alter publication supabase_realtime add table public.club_members;
