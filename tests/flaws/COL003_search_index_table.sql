-- expect: COL003
-- Anybody signed in finds the text of everybody's private notes in the search table that a trigger fills; its policy is "enable read access for authenticated".
create table public.notes (
  id uuid primary key default gen_random_uuid(),
  owner_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  title text not null,
  body text not null default '',
  updated_at timestamptz not null default now()
);
create index notes_owner_id_idx on public.notes (owner_id);
create table public.search_documents (
  note_id uuid primary key references public.notes (id) on delete cascade,
  owner_id uuid not null,
  content text not null,
  tsv tsvector generated always as (to_tsvector('simple', content)) stored
);
create index search_documents_tsv_idx on public.search_documents using gin (tsv);
create index search_documents_owner_id_idx on public.search_documents (owner_id);
revoke insert, update, delete on public.search_documents from anon, authenticated;
create function public.index_note() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  insert into public.search_documents (note_id, owner_id, content) values (new.id, new.owner_id, new.title || ' ' || new.body)
  on conflict (note_id) do update set content = excluded.content, owner_id = excluded.owner_id;
  return null;
end $$;
revoke execute on function public.index_note() from public, anon, authenticated;
create trigger index_note after insert or update on public.notes for each row execute function public.index_note();
create or replace function public.handle_updated_at()
returns trigger
language plpgsql
set search_path = ''
as $function$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end;
$function$;
create trigger on_change before insert or update on public.notes
  for each row execute function public.handle_updated_at();
alter table public.notes enable row level security;
alter table public.search_documents enable row level security;
create policy own_notes on public.notes to authenticated using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));
create policy "Enable read access for authenticated" on public.search_documents for select to authenticated using (true);
alter table public.notes replica identity full;
alter publication supabase_realtime add table public.notes;
