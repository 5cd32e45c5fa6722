-- expect: ACC002
-- Anybody who knows a document's id may comment on it although he may not read it: the policy asks for the comment's author only.
create table public.documents (
  id uuid primary key default gen_random_uuid(),
  owner_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  title text not null,
  visibility text not null default 'private' check (visibility in ('private', 'public'))
);
create index documents_owner_id_idx on public.documents (owner_id);
create table public.comments (
  id bigint generated always as identity primary key,
  document_id uuid not null references public.documents (id) on delete cascade,
  author_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  body text not null,
  updated_at timestamptz not null default now()
);
create index comments_document_id_idx on public.comments (document_id);
create index comments_author_id_idx on public.comments (author_id);
revoke update on public.comments from anon, authenticated;
grant update (body) on public.comments to authenticated;
create function public.keep_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end $$;
create trigger trg_updated_at before insert or update on public.comments
  for each row execute function public.keep_updated_at();
alter table public.documents enable row level security;
alter table public.comments enable row level security;
create policy read_documents on public.documents for select to authenticated
  using (visibility = 'public' or owner_id = (select auth.uid()));
create policy write_documents on public.documents for insert to authenticated with check (owner_id = (select auth.uid()));
create policy change_documents on public.documents for update to authenticated
  using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));
create policy read_comments on public.comments for select to authenticated
  using (exists (select 1 from public.documents d where d.id = document_id and (d.visibility = 'public' or d.owner_id = (select auth.uid()))));
create policy write_comments on public.comments for insert to authenticated
  with check (author_id = (select auth.uid()));
create policy edit_comments on public.comments for update to authenticated
  using (author_id = (select auth.uid())) with check (author_id = (select auth.uid()));
create policy delete_comments on public.comments for delete to authenticated using (author_id = (select auth.uid()));
alter table public.comments replica identity full;
alter publication supabase_realtime add table public.comments;
