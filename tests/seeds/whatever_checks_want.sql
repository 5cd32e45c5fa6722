create domain public.slug as text check (value ~ '^[a-z0-9]+(?:-[a-z0-9]+)*$' and length(value) between 3 and 40);
create domain public.slug2 as public.slug not null check (value <> 'admin');
create domain public.pos as integer check (value > 0);
create type public.st as enum ('draft','live','gone');
create table public.posts (id uuid primary key default gen_random_uuid(), user_id uuid not null default auth.uid() references auth.users, slug public.slug2, n public.pos not null,
 st public.st not null default 'draft', published_at timestamptz, check ((st = 'live') = (published_at is not null)),
 meta jsonb not null, check (meta ? 'title' and jsonb_typeof(meta->'title') = 'string' and jsonb_typeof(meta->'n') = 'number'), unique (slug));
create table public.comments (id bigint generated always as identity primary key, user_id uuid not null references auth.users, 
 post_id uuid references public.posts, parent_id bigint references public.comments, other_id uuid references public.posts,
 check (num_nonnulls(post_id, parent_id) = 1), tags text[] not null check (cardinality(tags) between 1 and 5), kind text not null check (kind in ('a','b')), a_val int, b_val text,
 check (kind = 'a' and a_val is not null and b_val is null or kind = 'b' and b_val is not null and a_val is null), lo int not null, hi int not null, check (lo < hi and hi < lo + 10));
create table public.bookings (id uuid primary key default gen_random_uuid(), user_id uuid not null references auth.users, room int not null, during tstzrange not null, start_at timestamptz not null, end_at timestamptz not null,
  check (end_at > start_at), check (end_at - start_at <= interval '2 hours'), exclude using gist (during with &&), exclude using gist (tstzrange(start_at,end_at) with &&));
create table public.phones (user_id uuid primary key references auth.users, phone text not null unique check (phone ~ '^\+[1-9][0-9]{6,14}$'), iban text not null check (iban ~ '^[A-Z]{2}[0-9]{2}[[:alnum:]]{10,30}$'), pct numeric(5,2) not null check (pct >= 0 and pct <= 100), color char(7) not null check (color ~* '^#[a-f0-9]{6}$'));
create unique index on public.phones (lower(phone));
create unique index one_default on public.posts (user_id) where st = 'draft';
do $$ declare t text; begin foreach t in array array['posts','comments','bookings','phones'] loop execute format('alter table public.%I enable row level security', t); execute format('create policy p on public.%I for select to authenticated using (user_id = (select auth.uid()))', t); execute format('alter publication supabase_realtime add table public.%I', t); end loop; end $$;
