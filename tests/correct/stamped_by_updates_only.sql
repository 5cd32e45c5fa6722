-- Shape: notes. updated_at has a default for new rows and a trigger for changes, as most schemas are made.
create table public.notebooks (id uuid primary key default gen_random_uuid(), owner_id uuid not null default auth.uid() references auth.users on delete cascade, title text not null);
create index on public.notebooks (owner_id);
create table public.notes (
  notebook_id uuid not null references public.notebooks on delete cascade,
  id uuid not null default gen_random_uuid(),
  text text not null default '',
  updated_at timestamptz not null default now(),
  primary key (notebook_id, id)
);
create function public.notes_set_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  return new;
end
$$;
create trigger notes_set_updated_at before update on public.notes for each row execute function public.notes_set_updated_at();
alter table public.notebooks enable row level security;
alter table public.notes enable row level security;
create policy "own notebooks (read)" on public.notebooks for select to authenticated using (owner_id = (select auth.uid()));
create policy "own notebooks (add)" on public.notebooks for insert to authenticated with check (owner_id = (select auth.uid()));
create policy "own notebooks (change)" on public.notebooks for update to authenticated using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));
create policy "own notebooks (remove)" on public.notebooks for delete to authenticated using (owner_id = (select auth.uid()));
create policy "notes of own notebooks (read)" on public.notes for select to authenticated using (notebook_id in (select b.id from public.notebooks b where b.owner_id = (select auth.uid())));
create policy "notes of own notebooks (add)" on public.notes for insert to authenticated with check (notebook_id in (select b.id from public.notebooks b where b.owner_id = (select auth.uid())));
create policy "notes of own notebooks (change)" on public.notes for update to authenticated using (notebook_id in (select b.id from public.notebooks b where b.owner_id = (select auth.uid()))) with check (notebook_id in (select b.id from public.notebooks b where b.owner_id = (select auth.uid())));
create policy "notes of own notebooks (remove)" on public.notes for delete to authenticated using (notebook_id in (select b.id from public.notebooks b where b.owner_id = (select auth.uid())));
alter publication supabase_realtime add table public.notes;
