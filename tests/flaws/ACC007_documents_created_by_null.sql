-- expect: ACC007
-- Anybody may take over documents whose author left (created_by set to null): the policy for orphans admits every signed-in user.
create table public.documents (
  id bigint generated always as identity primary key,
  created_by uuid default auth.uid() references auth.users (id) on delete set null,
  title text not null,
  body text not null default '',
  is_template boolean not null default false,
  updated_at timestamptz not null default now()
);
create index documents_created_by_idx on public.documents (created_by);
create function public.handle_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end $$;
create trigger on_change before insert or update on public.documents
  for each row execute function public.handle_updated_at();
alter table public.documents enable row level security;
create policy "templates are for all" on public.documents for select to authenticated using (is_template);
create policy "authors read" on public.documents for select to authenticated using (created_by = (select auth.uid()));
create policy "authors insert" on public.documents for insert to authenticated with check (created_by = (select auth.uid()) and not is_template);
create policy "authors update" on public.documents for update to authenticated
  using (created_by = (select auth.uid())) with check (created_by = (select auth.uid()) and not is_template);
create policy "adopt orphans" on public.documents for update to authenticated
  using (created_by is null) with check (created_by = (select auth.uid()) and not is_template);
create policy "authors delete" on public.documents for delete to authenticated using (created_by = (select auth.uid()));
alter table public.documents replica identity full;
alter publication supabase_realtime add table public.documents;
