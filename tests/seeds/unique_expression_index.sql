create table public.member (
  id uuid primary key default gen_random_uuid(),
  email text not null
);
create unique index member_email_ci on public.member (lower(email));
alter table public.member enable row level security;
