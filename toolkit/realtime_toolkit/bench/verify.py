"""``bench verify``: static checks of 200 tables, and the matrices of our own schema."""

from __future__ import annotations

import os
import statistics
import sys
from typing import TYPE_CHECKING, Any

import psycopg

from realtime_toolkit import verify
from realtime_toolkit.bench.processes import Helper, keep_stack

if TYPE_CHECKING:
    from collections.abc import Callable


VERIFY_TARGETS = {"static_200_tables_s": 2.0, "matrices_own_schema_s": 10.0}

MANY_TABLES = """
do $$
begin
  create table public.memberships (tenant_id uuid, user_id uuid, primary key (tenant_id, user_id));
  create index on public.memberships (user_id);
  alter table public.memberships enable row level security;
  create policy own on public.memberships for select to authenticated using (user_id = (select auth.uid()));
  for i in 1..200 loop
    execute format('create table public.t%s (
      tenant_id uuid not null, id uuid not null default gen_random_uuid(), owner_id uuid not null, title text,
      primary key (tenant_id, id))', i);
    execute format('create index on public.t%s (owner_id)', i);
    execute format('alter table public.t%s enable row level security', i);
    execute format('create policy p1 on public.t%s for select to authenticated using (tenant_id in (
      select m.tenant_id from public.memberships m where m.user_id = (select auth.uid())))', i);
    execute format('create policy p2 on public.t%s for select to authenticated using (owner_id = (select auth.uid()))', i);
    execute format('create policy p3 on public.t%s for insert to authenticated with check (owner_id = (select auth.uid()))', i);
    execute format('create policy p4 on public.t%s for delete to authenticated using (owner_id = (select auth.uid()))', i);
    execute format('create policy p5 on public.t%s for delete to authenticated using (false)', i);
    execute format('alter publication supabase_realtime add table public.t%s', i);
  end loop;
end $$;
"""


def run_verify_bench(progress: Callable[[str], None]) -> dict[str, Any]:
    """``verify``, static on 200 tables with 5 policies each, and dynamic on our own schema; medians of 3."""
    stack = Helper(keep_stack)
    try:
        dsn = stack.hear()["DATABASE_URL"]
        dynamic = ["access", "delivery", "private-channels"]
        progress("access, delivery and channel matrices of our own schema")
        own = [verify.verify(dsn, checks=dynamic).seconds for _ in range(3)]
        progress("static checks of 200 tables with 5 policies each")
        with psycopg.connect(dsn, autocommit=True) as db:
            db.execute(MANY_TABLES)
        static = ["publication", "rls", "channels", "UPD00", "tracking", "server"]
        many = [verify.verify(dsn, checks=static).seconds for _ in range(3)]
    finally:
        stack.say()
        stack.end()
    measured = {
        "static_200_tables_s": statistics.median(many),
        "matrices_own_schema_s": statistics.median(own),
    }
    return {
        "measured": {name: round(value, 3) for name, value in measured.items()},
        "targets": VERIFY_TARGETS,
        "met": {name: measured[name] <= goal for name, goal in VERIFY_TARGETS.items()},
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
    }
