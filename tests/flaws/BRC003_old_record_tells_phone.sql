-- expect: BRC003
-- Kind: broadcast.hidden-columns: the trigger strips the private columns of new, but passes old as it is.
create schema crm;
grant usage on schema crm to authenticated;
create table crm.accounts (id integer generated always as identity primary key, name text not null);
create table crm.sellers (user_id uuid primary key references auth.users on delete cascade, account_id integer not null references crm.accounts on delete cascade);
create index on crm.sellers (account_id);
create table crm.contacts (
  account_id integer not null references crm.accounts on delete cascade,
  id integer generated always as identity,
  full_name text not null,
  private_phone text,
  home_address text,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (account_id, id)
);
grant select on crm.accounts, crm.sellers to authenticated;
grant select (account_id, id, full_name, updated_at), update (full_name) on crm.contacts to authenticated;
create function public.keep_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end
$$;
create trigger contacts_keep_updated_at before insert or update on crm.contacts
  for each row execute function public.keep_updated_at();
alter table crm.accounts enable row level security;
alter table crm.sellers enable row level security;
alter table crm.contacts enable row level security;
create policy "oneself" on crm.sellers for select to authenticated
  using (user_id = (select auth.uid()));
create policy "own" on crm.accounts for select to authenticated
  using (id = (select s.account_id from crm.sellers s where s.user_id = (select auth.uid())));
create policy "own account" on crm.contacts for select to authenticated
  using (account_id = (select s.account_id from crm.sellers s where s.user_id = (select auth.uid())));
create policy "own account, changing" on crm.contacts for update to authenticated
  using (account_id = (select s.account_id from crm.sellers s where s.user_id = (select auth.uid())))
  with check (account_id = (select s.account_id from crm.sellers s where s.user_id = (select auth.uid())));
create function crm.contact_changed() returns trigger language plpgsql security definer set search_path = '' as $$
declare
  shown crm.contacts := new;
begin
  shown.private_phone := null;
  shown.home_address := null;
  perform realtime.broadcast_changes('account:' || new.account_id, tg_op, tg_op, tg_table_name, tg_table_schema, shown, old);
  return null;
end
$$;
revoke all on function crm.contact_changed() from public;
create trigger contact_changed after insert or update on crm.contacts for each row execute function crm.contact_changed();
create policy "sellers of the account" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) = 'account:' || (select s.account_id from crm.sellers s where s.user_id = (select auth.uid())));
