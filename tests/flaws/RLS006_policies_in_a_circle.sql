-- expect: RLS006
-- Shape: documents and shares that ask each other.
create table public.documents (id uuid primary key default gen_random_uuid(), owner_id uuid not null);
create index on public.documents (owner_id);
create table public.shares (
  document_id uuid not null references public.documents,
  guest_id uuid not null,
  primary key (document_id, guest_id)
);
create index on public.shares (guest_id);
alter table public.documents replica identity full;
alter table public.documents enable row level security;
alter table public.shares enable row level security;
create policy owner_or_guest on public.documents for select to authenticated
  using (owner_id = (select auth.uid()) or id in (select s.document_id from public.shares s where s.guest_id = (select auth.uid())));
create policy owner_of_document on public.shares for select to authenticated
  using (document_id in (select d.id from public.documents d where d.owner_id = (select auth.uid())));
alter publication supabase_realtime add table public.documents;
