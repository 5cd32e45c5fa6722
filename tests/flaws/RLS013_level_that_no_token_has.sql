-- expect: RLS013
-- Shape: a vault of recovery codes; the restrictive wall asks for a third factor.
create table public.vault_entries (
  owner_id uuid not null references auth.users,
  id uuid not null default gen_random_uuid(),
  label text not null,
  primary key (owner_id, id)
);
alter table public.vault_entries enable row level security;
create policy own on public.vault_entries for select to authenticated using (owner_id = (select auth.uid()));
create policy "second factor" on public.vault_entries as restrictive for select to authenticated
  using ((select auth.jwt()) ->> 'aal' = 'aal3');
alter publication supabase_realtime add table public.vault_entries;
