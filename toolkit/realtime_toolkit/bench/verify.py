"""``bench verify``: static checks of 200 and of 1,500 tables, everything dynamic on 100 and on our own schema."""

from __future__ import annotations

import os
import statistics
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from realtime_toolkit import verify
from realtime_toolkit.bench.processes import Helper, keep_stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


VERIFY_TARGETS = {
    "static_200_tables_s": 1.0,
    "static_1500_tables_s": 30.0,
    "dynamic_100_tables_s": 20.0,
    "matrices_own_schema_s": 10.0,
}
STATIC = ("publication", "rls", "channels", "UPD00", "tracking", "server")
DYNAMIC = ("access", "delivery", "private-channels", "UPD010")

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


def many_tables(count: int) -> str:
    """The script that makes so many tables with 5 policies each."""
    return MANY_TABLES.replace("1..200", f"1..{count}")


def run_verify_bench(progress: Callable[[str], None]) -> dict[str, Any]:
    """``verify`` on databases of these sizes, the leak hunt off; medians of 3."""
    stack = Helper(keep_stack)
    try:
        dsn = stack.hear()["DATABASE_URL"]
        progress("access, delivery and channel matrices of our own schema")
        measured = {"matrices_own_schema_s": _median(dsn, DYNAMIC)}
        for name, count, checks in (
            ("static_200_tables_s", 200, STATIC),
            ("dynamic_100_tables_s", 100, DYNAMIC),
            ("static_1500_tables_s", 1500, STATIC),
        ):
            progress(name.removesuffix("_s").replace("_", " "))
            with _schema(dsn, count):
                measured[name] = _median(dsn, checks)
    finally:
        stack.say()
        stack.end()
    return {
        "measured": {name: round(value, 3) for name, value in measured.items()},
        "targets": VERIFY_TARGETS,
        "met": {name: measured[name] <= goal for name, goal in VERIFY_TARGETS.items()},
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
    }


def _median(dsn: str, checks: tuple[str, ...]) -> float:
    return statistics.median(verify.verify(dsn, checks=checks, leaks=0).seconds for _ in range(3))


@contextmanager
def _schema(dsn: str, count: int) -> Iterator[None]:
    """So many tables in the schema public, and none afterwards."""
    made = ["public.memberships", *(f"public.t{number}" for number in range(1, count + 1))]
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute(many_tables(count).encode())
        yield
        for table in reversed(made):  # one by one: a transaction has only so many locks
            db.execute(f"drop table {table}".encode())
