-- expect: BRC001
-- Kind: broadcast.public-topic: private := false for the balance of an account.
create schema wallet;
create table public.balances (
  owner_id uuid primary key references auth.users on delete cascade,
  cents bigint not null default 0,
  updated_at timestamptz not null default clock_timestamp()
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
create trigger balances_keep_updated_at before insert or update on public.balances
  for each row execute function public.keep_updated_at();
alter table public.balances enable row level security;
create policy "own balance" on public.balances for select to authenticated
  using (owner_id = (select auth.uid()));
revoke insert, update, delete, truncate on public.balances from anon, authenticated;
create function wallet.announce() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.send(
    payload => jsonb_build_object('cents', new.cents, 'at', new.updated_at),
    event => 'balance',
    topic => format('balance:%s', new.owner_id),
    private => false
  );
  return new;
end
$$;
revoke all on function wallet.announce() from public;
create trigger announce after insert or update of cents on public.balances for each row execute function wallet.announce();
create policy "own balance" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) = 'balance:' || (select auth.uid()));
