-- expect: BRC001
-- Kind: broadcast.public-topic: the privacy of the topic comes from a column whose default is false, although RLS keeps every document to its workspace.
create table public.workspace_members (
  workspace_id uuid not null,
  user_id uuid not null references auth.users on delete cascade,
  primary key (user_id, workspace_id)
);
create table public.documents (
  workspace_id uuid not null,
  id uuid not null default gen_random_uuid(),
  title text not null default 'Untitled',
  pinned boolean not null default false,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (workspace_id, id)
);
create function public.handle_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'INSERT' then
    new.updated_at := clock_timestamp();
    return new;
  end if;
  new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  return new;
end
$$;
create trigger documents_handle_updated_at before insert or update on public.documents
  for each row execute function public.handle_updated_at();
alter table public.workspace_members enable row level security;
alter table public.documents enable row level security;
create policy "own memberships" on public.workspace_members for select to authenticated
  using (user_id = (select auth.uid()));
create policy "documents of my workspaces (read)" on public.documents for select to authenticated using (workspace_id in (select m.workspace_id from public.workspace_members m where m.user_id = (select auth.uid())));
create policy "documents of my workspaces (add)" on public.documents for insert to authenticated with check (workspace_id in (select m.workspace_id from public.workspace_members m where m.user_id = (select auth.uid())));
create policy "documents of my workspaces (change)" on public.documents for update to authenticated using (workspace_id in (select m.workspace_id from public.workspace_members m where m.user_id = (select auth.uid()))) with check (workspace_id in (select m.workspace_id from public.workspace_members m where m.user_id = (select auth.uid())));
create policy "documents of my workspaces (remove)" on public.documents for delete to authenticated using (workspace_id in (select m.workspace_id from public.workspace_members m where m.user_id = (select auth.uid())));
create function public.documents_notify() returns trigger language plpgsql security definer set search_path = '' as $$
declare
  d public.documents := coalesce(new, old);
begin
  perform realtime.send(to_jsonb(d), lower(tg_op), 'workspace:' || d.workspace_id, d.pinned);
  return null;
end
$$;
revoke all on function public.documents_notify() from public, anon, authenticated;
create trigger documents_notify after insert or update or delete on public.documents for each row execute function public.documents_notify();
create policy "members of the workspace listen" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) in (select 'workspace:' || m.workspace_id from public.workspace_members m where m.user_id = (select auth.uid())));
