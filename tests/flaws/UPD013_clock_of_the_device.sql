-- expect: UPD013
-- Shape: updated_at is copied from edited_at, which the client's clock fills.
create table public.documents (
  owner_id uuid not null default auth.uid() references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  content text not null default '',
  edited_at timestamptz,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (owner_id, id)
);
comment on column public.documents.edited_at is 'when the person wrote it, by the clock of the device';
create function public.document_touch() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at := coalesce(new.edited_at, clock_timestamp());
  return new;
end
$$;
create trigger document_touch before insert or update on public.documents for each row execute function public.document_touch();
alter table public.documents enable row level security;
create policy "own documents" on public.documents for all to authenticated
  using (owner_id = (select auth.uid()))
  with check (owner_id = (select auth.uid()));
alter publication supabase_realtime add table public.documents;
