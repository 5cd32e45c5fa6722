-- expect: BRC002
-- Kind: broadcast.topic-not-policys: "Project:<id>" is sent, "project:<id>" may be joined; topics are compared with case.
create table public."project" ("id" uuid primary key default gen_random_uuid(), "ownerId" uuid not null default auth.uid() references auth.users on delete cascade, "name" text not null);
create index on public."project" ("ownerId");
create table public."planItem" (
  "projectId" uuid not null references public."project" on delete cascade,
  "id" uuid not null default gen_random_uuid(),
  "label" text not null,
  "updatedAt" timestamptz not null default clock_timestamp(),
  primary key ("projectId", "id")
);
create function public.touch_updated_at_updatedat() returns trigger language plpgsql set search_path = '' as $$
begin
  new."updatedAt" = clock_timestamp();
  if tg_op = 'UPDATE' and new."updatedAt" <= old."updatedAt" then
    new."updatedAt" = old."updatedAt" + interval '1 microsecond';
  end if;
  return new;
end
$$;
create trigger planitem_touch_updated_at before insert or update on public."planItem"
  for each row execute function public.touch_updated_at_updatedat();
alter table public."project" enable row level security;
alter table public."planItem" enable row level security;
create policy "own projects" on public."project" for all to authenticated
  using ("ownerId" = (select auth.uid()))
  with check ("ownerId" = (select auth.uid()));
create policy "items of own projects" on public."planItem" for all to authenticated
  using ("projectId" in (select p."id" from public."project" p where p."ownerId" = (select auth.uid())))
  with check ("projectId" in (select p."id" from public."project" p where p."ownerId" = (select auth.uid())));
create function public."onPlanChange"() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.broadcast_changes(concat('Project:', coalesce(new."projectId", old."projectId")), tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
  return null;
end
$$;
revoke all on function public."onPlanChange"() from public, anon, authenticated;
create trigger "onPlanChange" after insert or update or delete on public."planItem" for each row execute function public."onPlanChange"();
create policy "own projects" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) in (select 'project:' || p."id" from public."project" p where p."ownerId" = (select auth.uid())));
