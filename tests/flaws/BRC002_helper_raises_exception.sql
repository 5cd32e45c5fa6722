-- expect: BRC002
-- Kind: broadcast.policy-raises: the helper raises an exception for a topic of another form instead of answering null.
create schema app;
grant usage on schema app to authenticated;
create table public.orgs (id uuid primary key default gen_random_uuid(), name text not null);
create table public.org_users (user_id uuid not null references auth.users on delete cascade, org_id uuid not null references public.orgs on delete cascade, primary key (user_id, org_id));
create index on public.org_users (org_id);
create table public.notifications (
  user_id uuid not null references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  org_id uuid not null references public.orgs on delete cascade,
  text text not null,
  primary key (user_id, id)
);
create index on public.notifications (org_id);
alter table public.orgs enable row level security;
alter table public.org_users enable row level security;
alter table public.notifications enable row level security;
create policy "own" on public.org_users for select to authenticated
  using (user_id = (select auth.uid()));
create policy "own" on public.orgs for select to authenticated
  using (id in (select u.org_id from public.org_users u where u.user_id = (select auth.uid())));
create policy "own" on public.notifications for select to authenticated
  using (user_id = (select auth.uid()));
revoke insert, update, delete, truncate on public.orgs, public.org_users, public.notifications from anon, authenticated;
create function app.topic_org() returns text language plpgsql stable set search_path = '' as $$
begin
  if split_part(realtime.topic(), '/', 1) <> 'org' then
    raise exception 'unknown topic %', realtime.topic();
  end if;
  return split_part(realtime.topic(), '/', 2);
end
$$;
revoke all on function app.topic_org() from public;
grant execute on function app.topic_org() to authenticated;
create function app.tell_notification() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.send(jsonb_build_object('id', new.id, 'text', new.text), 'notification', 'user/' || new.user_id, true);
  return null;
end
$$;
revoke all on function app.tell_notification() from public;
create trigger tell_notification after insert on public.notifications for each row execute function app.tell_notification();
create policy "organisation: listen" on realtime.messages for select to authenticated
  using (extension in ('broadcast', 'presence') and exists (
    select 1 from public.org_users u where u.user_id = (select auth.uid()) and u.org_id::text = (select app.topic_org())));
create policy "organisation: speak" on realtime.messages for insert to authenticated
  with check (extension in ('broadcast', 'presence') and exists (
    select 1 from public.org_users u where u.user_id = (select auth.uid()) and u.org_id::text = (select app.topic_org())));
create policy "listen to oneself" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) = 'user/' || (select auth.uid()));
