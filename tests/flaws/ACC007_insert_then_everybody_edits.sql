-- expect: ACC007
-- Shapes without an author may be changed and deleted by everybody signed in: the policy is for rows "of mine or of nobody", and the demo boards' shapes have none.
create table public.canvases (id uuid primary key default gen_random_uuid(), title text not null, is_demo boolean not null default false);
create table public.canvas_shapes (
  id uuid primary key default gen_random_uuid(),
  canvas_id uuid not null references public.canvases (id) on delete cascade,
  drawn_by uuid default auth.uid() references auth.users (id) on delete set null,
  x real not null default 0,
  y real not null default 0,
  updated_at timestamptz not null default now()
);
create index canvas_shapes_canvas_id_idx on public.canvas_shapes (canvas_id);
create index canvas_shapes_drawn_by_idx on public.canvas_shapes (drawn_by);
comment on column public.canvas_shapes.drawn_by is 'null: of a demo canvas, drawn by us';
create function public.touch() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end $$;
create trigger touch before insert or update on public.canvas_shapes
  for each row execute function public.touch();
alter table public.canvases enable row level security;
alter table public.canvas_shapes enable row level security;
create policy all_see on public.canvases for select to authenticated using (true);
create policy all_see on public.canvas_shapes for select to authenticated using (true);
create policy draw on public.canvas_shapes for insert to authenticated with check (drawn_by = (select auth.uid()));
create policy move on public.canvas_shapes for update to authenticated
  using (drawn_by is null or drawn_by = (select auth.uid())) with check (drawn_by is null or drawn_by = (select auth.uid()));
create policy erase on public.canvas_shapes for delete to authenticated using (drawn_by = (select auth.uid()));
alter table public.canvas_shapes replica identity full;
alter publication supabase_realtime add table public.canvas_shapes;
