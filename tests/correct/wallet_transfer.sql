-- Shape: the sound twin of flaws/FUN002_wallet_transfer.sql.
create table public.wallets (
  user_id uuid primary key references auth.users on delete cascade,
  balance integer not null default 0 check (balance >= 0),
  updated_at timestamptz not null default clock_timestamp()
);
create table public.wallet_entries (
  user_id uuid not null references public.wallets on delete cascade,
  id bigint generated always as identity,
  delta integer not null,
  reason text not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (user_id, id)
);
create function public.keep_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end
$$;
create trigger wallets_keep_updated_at before insert or update on public.wallets
  for each row execute function public.keep_updated_at();
alter table public.wallets enable row level security;
alter table public.wallet_entries enable row level security;
create policy "own wallet" on public.wallets for select to authenticated
  using (user_id = (select auth.uid()));
create policy "own entries" on public.wallet_entries for select to authenticated
  using (user_id = (select auth.uid()));
revoke insert, update, delete, truncate on public.wallets, public.wallet_entries from anon, authenticated;

create function public.transfer_credits(to_user uuid, amount integer) returns void
language plpgsql security definer set search_path = '' as $$
declare
  from_user uuid := auth.uid();
begin
  if from_user is null then
    raise exception 'sign in first';
  end if;
  if amount is null or amount <= 0 then
    raise exception 'amount must be positive';
  end if;
  update public.wallets set balance = balance - amount where user_id = from_user;
  if not found then
    raise exception 'no such wallet';
  end if;
  update public.wallets set balance = balance + amount where user_id = to_user;
  if not found then
    raise exception 'no such wallet';
  end if;
  insert into public.wallet_entries (user_id, delta, reason)
  values (from_user, -amount, 'sent'), (to_user, amount, 'received');
end
$$;
revoke execute on function public.transfer_credits(uuid, integer) from public, anon;
grant execute on function public.transfer_credits(uuid, integer) to authenticated;
alter publication supabase_realtime add table public.wallets, public.wallet_entries;
