-- expect: ACC002
-- The owner of a drive may move a file into a folder of somebody else's drive (three hops away): WITH CHECK asks that the folder exists, not whose it is.
create table public.drives (
  id uuid primary key default gen_random_uuid(),
  owner_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  is_public boolean not null default false
);
create index drives_owner_id_idx on public.drives (owner_id);
create table public.folders (
  id uuid primary key default gen_random_uuid(),
  drive_id uuid not null references public.drives (id) on delete cascade,
  name text not null
);
create index folders_drive_id_idx on public.folders (drive_id);
create table public.files (
  id uuid primary key default gen_random_uuid(),
  folder_id uuid not null references public.folders (id) on delete cascade,
  name text not null,
  bytes bigint not null default 0 check (bytes >= 0),
  updated_at timestamptz not null default now()
);
create index files_folder_id_idx on public.files (folder_id);
create function public.touch() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end $$;
create trigger touch before insert or update on public.files
  for each row execute function public.touch();
alter table public.drives enable row level security;
alter table public.folders enable row level security;
alter table public.files enable row level security;
create policy read_drives on public.drives for select to authenticated using (is_public or owner_id = (select auth.uid()));
create policy read_folders on public.folders for select to authenticated
  using (drive_id in (select d.id from public.drives d where d.is_public or d.owner_id = (select auth.uid())));
create policy read_files on public.files for select to authenticated
  using (exists (select 1 from public.folders f join public.drives d on d.id = f.drive_id
    where f.id = files.folder_id and (d.is_public or d.owner_id = (select auth.uid()))));
create policy add_files on public.files for insert to authenticated
  with check (exists (select 1 from public.folders f join public.drives d on d.id = f.drive_id
    where f.id = files.folder_id and d.owner_id = (select auth.uid())));
create policy move_files on public.files for update to authenticated
  using (exists (select 1 from public.folders f join public.drives d on d.id = f.drive_id
    where f.id = files.folder_id and d.owner_id = (select auth.uid())))
  with check (exists (select 1 from public.folders f where f.id = files.folder_id));
alter table public.files replica identity full;
alter publication supabase_realtime add table public.files;
