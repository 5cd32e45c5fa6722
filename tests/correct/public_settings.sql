-- Shape: settings that everybody reads, none of them a secret; the secrets stand in a table that only the server reads.
create table public.settings (
  key text primary key,
  value text not null
);
insert into public.settings values
  ('theme', 'dark'), ('stripe_publishable_key', 'pk_live_123'), ('supabase_anon_key', 'anon'), ('password_min_length', '12');
create table public.server_secrets (
  name text primary key,
  secret text not null
);
alter table public.settings enable row level security;
alter table public.server_secrets enable row level security;
create policy everybody on public.settings for select using (true);
revoke insert, update, delete on public.settings from anon, authenticated;
revoke all on public.server_secrets from anon, authenticated;
alter publication supabase_realtime add table public.settings;
