-- expect: RLS002
-- Shape: notifications, published, RLS on, only an insert policy.
create table public.notifications (
  receiver_id uuid not null,
  id uuid not null default gen_random_uuid(),
  text text not null,
  primary key (receiver_id, id)
);
alter table public.notifications enable row level security;
create policy add on public.notifications for insert to authenticated with check (receiver_id = (select auth.uid()));
alter publication supabase_realtime add table public.notifications;
