-- expect: FUN004
-- Pg_temp stands first: a temporary table named vouchers takes the place of the real one with the owner's rights.
create table public.vouchers (
  code text primary key check (code ~ '^[A-Z0-9]{8}$'),
  credits integer not null check (credits > 0),
  redeemed_by uuid references auth.users,
  redeemed_at timestamptz
);
create index on public.vouchers (redeemed_by);
create table public.accounts (
  user_id uuid primary key references auth.users on delete cascade,
  credits integer not null default 0,
  updated_at timestamptz not null default clock_timestamp()
);
create function public.stamp_row() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end
$$;
create trigger accounts_stamp_row before insert or update on public.accounts
  for each row execute function public.stamp_row();
alter table public.vouchers enable row level security;
alter table public.accounts enable row level security;
create policy "redeemed by me" on public.vouchers for select to authenticated
  using (redeemed_by = (select auth.uid()));
create policy "own account" on public.accounts for select to authenticated
  using (user_id = (select auth.uid()));
revoke insert, update, delete, truncate on public.vouchers, public.accounts from anon, authenticated;
create function public.redeem_voucher(voucher text) returns integer
language plpgsql security definer
set search_path = pg_temp, public
as $$
declare
  worth integer;
begin
  if auth.uid() is null then
    raise exception 'not signed in';
  end if;
  update vouchers set redeemed_by = auth.uid(), redeemed_at = now()
    where code = voucher and redeemed_by is null
    returning credits into worth;
  if worth is null then
    raise exception 'unknown or used voucher';
  end if;
  insert into accounts as a (user_id, credits) values (auth.uid(), worth)
    on conflict (user_id) do update set credits = a.credits + excluded.credits;
  return worth;
end
$$;
revoke execute on function public.redeem_voucher(text) from public, anon;
grant execute on function public.redeem_voucher(text) to authenticated;
alter publication supabase_realtime add table public.accounts;
