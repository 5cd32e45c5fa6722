-- expect: RLS013
-- Shape: alerts; the only policy asks for the server's role, which needs none, and everybody else hears nothing.
create table public.alerts (
  user_id uuid not null references auth.users,
  id uuid not null default gen_random_uuid(),
  primary key (user_id, id)
);
alter table public.alerts enable row level security;
create policy "server" on public.alerts for select using ((select auth.role()) = 'service_role');
alter publication supabase_realtime add table public.alerts;
