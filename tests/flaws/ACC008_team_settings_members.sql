-- expect: ACC008
-- Any member of an organisation may change its subscription row (seats, status): the policy for members is FOR ALL although only Stripe's webhook should write.
create schema private;
create table public.organisations (id uuid primary key default gen_random_uuid(), name text not null);
create table public.organisation_members (
  organisation_id uuid not null references public.organisations (id) on delete cascade,
  user_id uuid not null references auth.users (id) on delete cascade,
  primary key (user_id, organisation_id)
);
create index organisation_members_organisation_id_idx on public.organisation_members (organisation_id);
create table public.subscriptions (
  id text primary key,
  organisation_id uuid not null references public.organisations (id) on delete cascade,
  status text not null check (status in ('trialing', 'active', 'past_due', 'canceled')),
  seats integer not null default 1 check (seats > 0),
  current_period_end timestamptz not null,
  updated_at timestamptz not null default now()
);
create index subscriptions_organisation_id_idx on public.subscriptions (organisation_id);
create function private.organisations_of_caller() returns setof uuid language sql stable security definer set search_path = '' as $$
  select m.organisation_id from public.organisation_members m where m.user_id = (select auth.uid())
$$;
revoke all on function private.organisations_of_caller() from public, anon;
grant execute on function private.organisations_of_caller() to authenticated, service_role;
create function public.keep_updated_at() returns trigger as $$
begin
  new.updated_at := case when tg_op = 'INSERT' then clock_timestamp()
    else greatest(clock_timestamp(), old.updated_at + interval '1 microsecond') end;
  return new;
end;
$$ language plpgsql set search_path to '';
create trigger trg_updated_at before insert or update on public.subscriptions
  for each row execute function public.keep_updated_at();
alter table public.organisations enable row level security;
alter table public.organisation_members enable row level security;
alter table public.subscriptions enable row level security;
create policy member_reads on public.organisations for select to authenticated using (id in (select private.organisations_of_caller()));
create policy member_reads on public.organisation_members for select to authenticated using (organisation_id in (select private.organisations_of_caller()));
create policy member_reads on public.subscriptions for all to authenticated
  using (organisation_id in (select private.organisations_of_caller()))
  with check (organisation_id in (select private.organisations_of_caller()));
alter table public.subscriptions replica identity full;
alter publication supabase_realtime add table public.subscriptions;
