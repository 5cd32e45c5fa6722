-- expect: FUN006
-- EXECUTE was taken from anon and authenticated by name, but PUBLIC has it: everybody approves sellers, himself too.
create table public.seller_applications (
  applicant_id uuid primary key default auth.uid() references auth.users on delete cascade,
  shop_name text not null,
  approved_at timestamptz,
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
create trigger seller_applications_keep_updated_at before insert or update on public.seller_applications
  for each row execute function public.keep_updated_at();
alter table public.seller_applications enable row level security;
create policy "own application" on public.seller_applications for select to authenticated
  using (applicant_id = (select auth.uid()));
create policy "apply" on public.seller_applications for insert to authenticated
  with check (applicant_id = (select auth.uid()) and approved_at is null);
revoke update, delete, truncate on public.seller_applications from anon, authenticated;
create function public.approve_seller(applicant uuid) returns void
language sql security definer set search_path = ''
as $$ update public.seller_applications set approved_at = now() where applicant_id = applicant $$;
revoke execute on function public.approve_seller(uuid) from anon, authenticated;
grant execute on function public.approve_seller(uuid) to service_role;
alter publication supabase_realtime add table public.seller_applications;
