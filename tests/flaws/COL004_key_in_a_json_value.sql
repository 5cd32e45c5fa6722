-- expect: COL004
-- Anonymous visitors read the key of the mail service: it is the value of a setting, and settings are public.
create table public.site_config (
  name text primary key,
  value jsonb not null
);
insert into public.site_config values ('colour', '"blue"'), ('analytics_public_key', '"pk"'), ('mailer', '"SG.abcdefghijklmnopqrstuv.x"');
alter table public.site_config enable row level security;
create policy everybody on public.site_config for select using (true);
revoke insert, update, delete on public.site_config from anon, authenticated;
alter publication supabase_realtime add table public.site_config;
