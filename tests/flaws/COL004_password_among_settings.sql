-- expect: COL004
-- Anonymous visitors read the password of the mail server, one of the settings that a page shows.
create table public.settings (
  id bigint generated always as identity primary key,
  key text not null unique,
  value text
);
insert into public.settings (key, value) values ('title', 'Shop'), ('stripe_publishable_key', 'pk_live_1'), ('smtp_password', 'hunter2');
alter table public.settings enable row level security;
create policy everybody on public.settings for select using (true);
revoke insert, update, delete on public.settings from anon, authenticated;
alter publication supabase_realtime add table public.settings;
