-- expect: COL004
-- Anonymous visitors read the Stripe and OpenAI secrets: the settings table is public for the theme's sake, and the secrets are rows of it.
create table public.app_settings (
  key text primary key,
  value text not null,
  updated_at timestamptz not null default now()
);
create function public.stamp_setting() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end $$;
insert into public.app_settings (key, value) values
  ('theme', 'dark'),
  ('support_mail', 'help@example.com');
insert into public.app_settings (key, value) values
  ('stripe_secret_key', 'sk_test_placeholder'),
  ('openai_api_key', 'sk-placeholder'),
  ('smtp_password', 'change-me');
revoke insert, update, delete on public.app_settings from anon, authenticated;
create trigger stamp before insert or update on public.app_settings for each row execute function public.stamp_setting();
alter table public.app_settings enable row level security;
create policy "settings are public" on public.app_settings for select to anon, authenticated using (true);
alter publication supabase_realtime add table public.app_settings;
