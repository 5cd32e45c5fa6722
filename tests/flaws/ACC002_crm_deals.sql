-- expect: ACC002
-- A sales rep may set ownerId of an own deal to any other rep (WITH CHECK asks for the stage only), so the deal and its commission land with somebody who never agreed.
create type public."DealStage" as enum ('LEAD', 'QUALIFIED', 'WON', 'LOST');

create table public."Rep" (
  "userId" uuid primary key references auth.users (id) on delete cascade,
  "fullName" text not null check (char_length("fullName") between 1 and 120)
);
create table public."Deal" (
  id uuid primary key default gen_random_uuid(),
  "ownerId" uuid not null default auth.uid() references public."Rep" ("userId") on delete cascade,
  title text not null,
  stage public."DealStage" not null default 'LEAD',
  "amountCents" bigint not null default 0 check ("amountCents" >= 0),
  "createdAt" timestamptz not null default now(),
  "updatedAt" timestamptz not null default now()
);
create index "Deal_ownerId_idx" on public."Deal" ("ownerId");
create function public.set_updated_at() returns trigger as $$
begin
  new."updatedAt" := case when tg_op = 'INSERT' then clock_timestamp()
    else greatest(clock_timestamp(), old."updatedAt" + interval '1 microsecond') end;
  return new;
end;
$$ language plpgsql set search_path to '';
create trigger set_updated_at before insert or update on public."Deal"
  for each row execute function public.set_updated_at();
alter table public."Rep" enable row level security;
alter table public."Deal" enable row level security;

-- the whole sales floor sees the pipeline; everybody edits only his own deals
create policy "Reps are visible to the sales floor" on public."Rep" for select to authenticated using (true);
create policy "Pipeline is visible to the sales floor" on public."Deal" for select to authenticated using (true);
create policy "Reps open own deals" on public."Deal" for insert to authenticated with check ("ownerId" = (select auth.uid()));
create policy "Reps work own deals" on public."Deal" for update to authenticated
  using ("ownerId" = (select auth.uid()))
  with check (stage in ('LEAD', 'QUALIFIED', 'WON', 'LOST'));
create policy "Reps drop own leads" on public."Deal" for delete to authenticated
  using ("ownerId" = (select auth.uid()) and stage = 'LEAD');
alter table public."Deal" replica identity full;
alter publication supabase_realtime add table public."Deal";
