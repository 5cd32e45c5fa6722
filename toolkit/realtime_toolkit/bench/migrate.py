"""``bench migrate``: the splitter, and what a plan costs beside the run that it plans."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realtime_toolkit import migrate
from realtime_toolkit.bench.processes import Helper, keep_stack
from realtime_toolkit.migrate.sqlsplit import split

if TYPE_CHECKING:
    from collections.abc import Callable

SPLIT_TARGET = 10.0
PLAN_TARGET = 1.3
SEED_TARGET = 2.0

TABLE = """create table public.t{n} (id uuid primary key default gen_random_uuid(), owner uuid);
alter table public.t{n} enable row level security;
create policy own on public.t{n} for select to authenticated using (owner = (select auth.uid()));
"""
INSERT = "insert into public.item (id, name, note) values ({n}, 'name {n}', 'it''s a (note); of {n}');\n"
FUNCTION = """create function public.f{n}(a int) returns int language plpgsql as ${tag}$
begin
  if a > 1 then return a; end if;  -- or; not
  return length('x;');
end;
${tag}$;
"""
TEXTS: dict[str, Callable[[], str]] = {
    "tables": lambda: "".join(TABLE.format(n=n) for n in range(6000)),
    "inserts": lambda: "".join(INSERT.format(n=n) for n in range(20_000)),
    "one insert": lambda: (
        "insert into t values\n" + ",\n".join(f"({n}, E'a\\n', null)" for n in range(80_000))
    ),
    "functions": lambda: "".join(FUNCTION.format(n=n, tag="" if n % 2 else "body") for n in range(10_000)),
    "one literal": lambda: "select '" + "it''s; " * 300_000 + "'",
    "comments": lambda: "".join(
        f"--\n-- t{n}; its\n--\n/* a; /* b */ */ select {n};\n" for n in range(30_000)
    ),
    "rows of copy": lambda: "copy t from stdin;\n" + "1\tone; 'two'\n" * 150_000 + "\\.\n",
}


def run_migrate_bench(progress: Callable[[str], None]) -> dict[str, Any]:
    """MB/s of the splitter on several kinds of text; ``plan`` beside ``up`` of 4,500 statements; a 20 MB file of inserts."""
    progress("the splitter")
    speeds = {name: round(_speed(make()), 1) for name, make in TEXTS.items()}
    measured = {"split_slowest_mb_s": min(speeds.values()), **_on_a_stack(progress)}
    met = {
        "split_slowest_mb_s": measured["split_slowest_mb_s"] >= SPLIT_TARGET,
        "plan_by_up": measured["plan_by_up"] <= PLAN_TARGET,
        "insert_mb_s": measured["insert_mb_s"] >= SEED_TARGET,
    }
    return {
        "measured": {**measured, "split_mb_s": speeds},
        "targets": {
            "split_slowest_mb_s": SPLIT_TARGET,
            "plan_by_up": PLAN_TARGET,
            "insert_mb_s": SEED_TARGET,
        },
        "met": met,
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
    }


def _speed(text: str) -> float:
    """By the processor's time: others on the machine do not count."""
    size, best = len(text.encode()) / 1e6, 0.0
    for _ in range(3):
        begun = time.process_time()
        split(text)
        best = max(best, size / (time.process_time() - begun))
    return best


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _on_a_stack(progress: Callable[[str], None]) -> dict[str, float]:
    stack = Helper(keep_stack)
    try:
        dsn = stack.hear()["DATABASE_URL"]
        with tempfile.TemporaryDirectory() as folder:
            return _plan_and_up(dsn, Path(folder), progress) | _inserts(dsn, Path(folder), progress)
    finally:
        stack.say()
        stack.end()


def _plan_and_up(dsn: str, folder: Path, progress: Callable[[str], None]) -> dict[str, float]:
    progress("plan and up of 4,500 statements, three times")
    migrate.init(folder)
    directory = migrate.migrations_of(folder)
    ratios = []
    for turn in range(4):
        path = directory / f"9000000000000{turn}_tables.sql"
        path.write_text("".join(TABLE.format(n=turn * 1500 + n) for n in range(1500)))
        planned = _timed(lambda: migrate.plan(dsn, directory))
        ratios.append(planned / _timed(lambda: migrate.up(dsn, directory)))
    return {"plan_by_up": round(statistics.median(ratios[1:]), 2)}  # the first one warms the server up


def _inserts(dsn: str, folder: Path, progress: Callable[[str], None]) -> dict[str, float]:
    progress("up of 20 MB of inserts")
    path = migrate.migrations_of(folder) / "90000000000009_inserts.sql"
    table = "create table public.item (id int primary key, name text, note text);\n"
    path.write_text(table + "".join(INSERT.format(n=n) for n in range(200_000)))
    seconds = _timed(lambda: migrate.up(dsn, path.parent))
    return {"insert_mb_s": round(path.stat().st_size / 1e6 / seconds, 2)}
