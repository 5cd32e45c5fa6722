-- expect: MSG007
-- Shape: likes that are broadcast by a trigger with the rights of whoever likes.
create table public.likes (
  user_id uuid not null default auth.uid(),
  post_id uuid not null,
  primary key (user_id, post_id)
);
alter table public.likes enable row level security;
create policy own on public.likes for all to authenticated
  using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
create function public.tell_like() returns trigger language plpgsql set search_path = '' as $$
begin
  perform realtime.send(jsonb_build_object('post', new.post_id), 'like', 'post:' || new.post_id, true);
  return null;
end $$;
create trigger tell after insert on public.likes for each row execute function public.tell_like();
create policy likers_hear on realtime.messages for select to authenticated using (extension = 'broadcast' and exists (
  select from public.likes l where l.user_id = (select auth.uid()) and 'post:' || l.post_id = (select realtime.topic())));
