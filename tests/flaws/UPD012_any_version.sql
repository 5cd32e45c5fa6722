-- expect: UPD012
-- Shape: a client inserts with "version" = 1000000; on INSERT nothing sets it to 1.
create table public."Drawing" (
  "ownerId" uuid not null default auth.uid() references auth.users on delete cascade,
  "drawingId" uuid not null default gen_random_uuid(),
  "name" text not null default '',
  "version" bigint not null default 1,
  "updatedAt" timestamptz not null default clock_timestamp(),
  primary key ("ownerId", "drawingId")
);
create function public."countDrawing"() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new."version" := old."version" + 1;
  end if;
  return new;
end
$$;
create trigger "countDrawing" before insert or update on public."Drawing" for each row execute function public."countDrawing"();
create function public.set_updated_at_updatedat() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new."updatedAt" := greatest(clock_timestamp(), old."updatedAt" + interval '1 microsecond');
  else
    new."updatedAt" := clock_timestamp();
  end if;
  return new;
end
$$;
create trigger drawing_set_updated_at before insert or update on public."Drawing"
  for each row execute function public.set_updated_at_updatedat();
alter table public."Drawing" enable row level security;
create policy "own drawings" on public."Drawing" for all to authenticated
  using ("ownerId" = (select auth.uid()))
  with check ("ownerId" = (select auth.uid()));
alter publication supabase_realtime add table public."Drawing";
