-- Shape: the sound twin of flaws/FUN006_members_only_directory.sql.
create table public.members (
  id uuid primary key references auth.users on delete cascade,
  display_name text not null,
  town text,
  updated_at timestamptz not null default clock_timestamp()
);
create table public.member_contacts (
  member_id uuid primary key references public.members on delete cascade,
  phone text,
  show_in_directory boolean not null default false
);
create function public.stamp_row() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end
$$;
create trigger members_stamp_row before insert or update on public.members
  for each row execute function public.stamp_row();
alter table public.members enable row level security;
alter table public.member_contacts enable row level security;
create policy "members read members" on public.members for select to authenticated
  using (true);
create policy "own entry" on public.members for update to authenticated
  using (id = (select auth.uid()))
  with check (id = (select auth.uid()));
create policy "own contact (read)" on public.member_contacts for select to authenticated using (member_id = (select auth.uid()));
create policy "own contact (add)" on public.member_contacts for insert to authenticated with check (member_id = (select auth.uid()));
create policy "own contact (change)" on public.member_contacts for update to authenticated using (member_id = (select auth.uid())) with check (member_id = (select auth.uid()));
create policy "own contact (remove)" on public.member_contacts for delete to authenticated using (member_id = (select auth.uid()));
revoke all on public.members, public.member_contacts from anon;
-- signed-in members see the phone numbers of those who agreed
create function public.member_directory() returns table (display_name text, town text, phone text)
language sql stable security definer set search_path = '' as $$
  select m.display_name, m.town, c.phone
  from public.members m join public.member_contacts c on c.member_id = m.id
  where c.show_in_directory and (select auth.uid()) is not null
  order by 1
$$;
revoke execute on function public.member_directory() from public, anon;
grant execute on function public.member_directory() to authenticated;
alter publication supabase_realtime add table public.members;
