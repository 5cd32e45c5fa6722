-- expect: ACC008
-- Whoever a sheet is shared with for reading may change and delete it: the share policy is FOR ALL.
create schema private;
create table public.spreadsheets (
  id uuid primary key default gen_random_uuid(),
  owner_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  title text not null,
  rows integer not null default 0,
  updated_at timestamptz not null default now()
);
create index spreadsheets_owner_id_idx on public.spreadsheets (owner_id);
create table public.spreadsheet_viewers (
  spreadsheet_id uuid not null references public.spreadsheets (id) on delete cascade,
  viewer_id uuid not null references auth.users (id) on delete cascade,
  primary key (spreadsheet_id, viewer_id)
);
create index spreadsheet_viewers_viewer_id_idx on public.spreadsheet_viewers (viewer_id);
create function private.owns_sheet(sheet uuid) returns boolean language sql stable security definer set search_path = '' as $$
  select exists (select 1 from public.spreadsheets s where s.id = sheet and s.owner_id = (select auth.uid()))
$$;
create function private.sheets_i_view() returns setof uuid language sql stable security definer set search_path = '' as $$
  select v.spreadsheet_id from public.spreadsheet_viewers v where v.viewer_id = (select auth.uid())
$$;
revoke all on function private.owns_sheet(uuid) from public, anon;
grant execute on function private.owns_sheet(uuid) to authenticated, service_role;
revoke all on function private.sheets_i_view() from public, anon;
grant execute on function private.sheets_i_view() to authenticated, service_role;
create function public.set_updated_at() returns trigger as $$
begin
  new.updated_at := case when tg_op = 'INSERT' then clock_timestamp()
    else greatest(clock_timestamp(), old.updated_at + interval '1 microsecond') end;
  return new;
end;
$$ language plpgsql set search_path to '';
create trigger set_updated_at before insert or update on public.spreadsheets
  for each row execute function public.set_updated_at();
alter table public.spreadsheets enable row level security;
alter table public.spreadsheet_viewers enable row level security;
create policy owner_all on public.spreadsheets for all to authenticated
  using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));
create policy viewer_access on public.spreadsheets for all to authenticated using (id in (select private.sheets_i_view()));
create policy owner_shares on public.spreadsheet_viewers for insert to authenticated with check (private.owns_sheet(spreadsheet_id));
create policy both_see on public.spreadsheet_viewers for select to authenticated
  using (viewer_id = (select auth.uid()) or private.owns_sheet(spreadsheet_id));
create policy owner_unshares on public.spreadsheet_viewers for delete to authenticated using (private.owns_sheet(spreadsheet_id));
alter table public.spreadsheets replica identity full;
alter publication supabase_realtime add table public.spreadsheets;
