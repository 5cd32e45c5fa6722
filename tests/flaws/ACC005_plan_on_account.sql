-- expect: ACC005
-- A customer may put himself on the paid plan and raise his own quota: the guard trigger watches is_admin only.
create table public.accounts (
  user_id uuid primary key default auth.uid() references auth.users (id) on delete cascade,
  company text not null default '',
  plan text not null default 'free' check (plan in ('free', 'pro', 'enterprise')),
  monthly_quota integer not null default 100,
  is_admin boolean not null default false,
  updated_at timestamptz not null default now()
);
create function public.guard_account() returns trigger language plpgsql set search_path = '' as $$
begin
  if current_user in ('anon', 'authenticated') then
    if tg_op = 'INSERT' then
      new.plan := 'free';
      new.monthly_quota := 100;
      new.is_admin := false;
    elsif new.is_admin is distinct from old.is_admin then
      raise exception 'only the billing service changes this' using errcode = '42501';
    end if;
  end if;
  return new;
end $$;
create trigger guard before insert or update on public.accounts for each row execute function public.guard_account();
create function public.set_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end $$;
create trigger set_updated_at before insert or update on public.accounts
  for each row execute function public.set_updated_at();
alter table public.accounts enable row level security;
create policy account_select on public.accounts for select to authenticated using ((select auth.uid()) = user_id);
create policy account_insert on public.accounts for insert to authenticated with check ((select auth.uid()) = user_id);
create policy account_update on public.accounts for update to authenticated
  using ((select auth.uid()) = user_id) with check ((select auth.uid()) = user_id);
alter table public.accounts replica identity full;
alter publication supabase_realtime add table public.accounts;
