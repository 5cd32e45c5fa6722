-- expect: ACC002
-- Anybody may hang a folder of his own under a stranger's folder: parent_id is not asked for.
create table public.folders (
  id uuid primary key default gen_random_uuid(),
  owner_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  parent_id uuid references public.folders (id) on delete cascade,
  name text not null,
  updated_at timestamptz not null default now(),
  unique (owner_id, id)
);
create index folders_parent_id_idx on public.folders (parent_id);
create index folders_owner_parent_idx on public.folders (owner_id, parent_id);
create function public.handle_updated_at() returns trigger as $$
begin
  new.updated_at := case when tg_op = 'INSERT' then clock_timestamp()
    else greatest(clock_timestamp(), old.updated_at + interval '1 microsecond') end;
  return new;
end;
$$ language plpgsql set search_path to '';
create trigger on_change before insert or update on public.folders
  for each row execute function public.handle_updated_at();
alter table public.folders enable row level security;
create policy own_folders on public.folders for all to authenticated
  using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));
alter table public.folders replica identity full;
alter publication supabase_realtime add table public.folders;
