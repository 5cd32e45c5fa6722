"""``bench truth``: for how long a listener says ``synced`` while it is behind, at the default settings.

A stack at the genuine server's pace, a scope of a thousand rows, a writer of five commits a second, and every loss
that nobody announces. What the database has committed and the copy has not is looked at every 10 ms.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg

from realtime_toolkit.bench.processes import in_its_place
from realtime_toolkit.events import Recovered, State, StateChanged
from realtime_toolkit.follow.listener import Listener
from realtime_toolkit.migrate import packaged_migrations
from realtime_toolkit.stack import LocalStack
from realtime_toolkit.stack.realtime.limits import Limits
from realtime_toolkit.store import RestStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime_toolkit.events import Event

TARGETS = {"synced_while_behind_s": 5.0, "share_of_a_core": 0.01, "false_words_in_flight": 0.0}
ROWS = 1000
SCHEMA = """
create table public.bench_guests (who uuid primary key);
grant select on public.bench_guests to authenticated;
create table public.bench_truth (id bigint primary key, room int not null, body text not null);
alter table public.bench_truth enable row level security;
grant select on public.bench_truth to authenticated;
create policy guests on public.bench_truth for select to authenticated
  using (room = 1 or exists (select from public.bench_guests g where g.who = (select auth.uid())));
select public.track_table('public.bench_truth', 'bench_truth', 'room');
"""
SILENT = (
    "slot-lost:5",
    "batch-lost",
    "rate-limit:5",
    "publication-change:2",
    "connections-lost:3",
    "cut-transaction:1",
)
"""Faults of the stack of which a client hears nothing, or too late."""


@dataclass
class Watched:
    """One listener, and what the database has committed for it."""

    listener: Listener
    committed: dict[int, float] = field(default_factory=dict)
    """Row's id → when its COMMIT had returned, of those that the copy is not known to have."""
    longest: float = 0.0
    """Seconds that ``synced`` was said while the oldest of these was missing."""

    def look(self, now: float) -> None:
        held = self.listener.replica
        for number in [n for n in self.committed if held.row("public.bench_truth", f"[{n}]") is not None]:
            del self.committed[number]
        if self.listener.state is State.SYNCED and self.committed:
            self.longest = max(self.longest, now - min(self.committed.values()))


async def _watch(watched: Watched) -> None:
    while True:
        watched.look(time.monotonic())
        await asyncio.sleep(0.01)


async def _write(dsn: str, watched: Watched, first: int, seconds: float, room: int = 1) -> int:
    """Five commits a second; the next number."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as db:
        number, until = first, time.monotonic() + seconds
        while time.monotonic() < until:
            await db.execute("insert into public.bench_truth values (%s, %s, 'x')", [number, room])
            watched.committed[number] = time.monotonic()
            number += 1
            await asyncio.sleep(0.2)
    return number


async def _measure(stack: LocalStack, progress: Callable[[str], None]) -> dict[str, float]:
    user = str(uuid.uuid4())
    heard: list[Event] = []
    async with await psycopg.AsyncConnection.connect(stack.database_url, autocommit=True) as db:
        await db.execute(SCHEMA.encode())
        await db.execute(
            f"insert into public.bench_truth select n, 1, 'x' from generate_series(1, {ROWS}) n".encode()
        )
        token = lambda: stack.token(user)  # noqa: E731
        async with (
            RestStore(stack.url, stack.anon_key, token) as source,
            Listener(
                stack.url, stack.anon_key, token, "bench_truth:1", source, on_event=heard.append
            ) as listener,
        ):
            watched = Watched(listener)
            await listener.synced()
            while not any(isinstance(e, StateChanged) and e.state is State.SYNCED for e in heard):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            async with in_its_place(_watch(watched)):
                progress("in flight: five commits a second, and no fault")
                began, glances, costs = (
                    time.monotonic(),
                    listener.stats.comparisons,
                    listener.stats.comparison_seconds,
                )
                heard.clear()
                number = await _write(stack.database_url, watched, ROWS + 1, 20)
                measured = {
                    "false_words_in_flight": float(
                        sum(isinstance(e, StateChanged | Recovered) for e in heard)
                    ),
                    "comparisons_per_minute": 60
                    * (listener.stats.comparisons - glances)
                    / (time.monotonic() - began),
                    "share_of_a_core": (listener.stats.comparison_seconds - costs)
                    / (time.monotonic() - began),
                    "in_flight_s": watched.longest,
                }
                for fault in SILENT:
                    progress(f"{fault}, unannounced")
                    watched.longest = 0.0
                    stack.faults.inject_text(fault)
                    number = await _write(stack.database_url, watched, number, 12)
                    await listener.synced()
                    measured[f"behind_s {fault.partition(':')[0]}"] = watched.longest
                progress("rows that become visible")
                watched.longest = 0.0
                await listener.close()
                measured["behind_s becomes visible"] = await _becomes_visible(stack, db, user)
    worst = max(value for name, value in measured.items() if name.startswith("behind_s"))
    return {"synced_while_behind_s": worst, **measured}


async def _becomes_visible(stack: LocalStack, db: psycopg.AsyncConnection[Any], user: str) -> float:
    """Seconds from the commit of a membership until the rows it shows are there, or ``synced`` is not."""
    await db.execute(
        f"insert into public.bench_truth select n, 2, 'x' from generate_series(100001, {100000 + ROWS}) n".encode()
    )
    token = lambda: stack.token(user)  # noqa: E731
    async with (
        RestStore(stack.url, stack.anon_key, token) as source,
        Listener(stack.url, stack.anon_key, token, "bench_truth:2", source) as listener,
    ):
        await listener.synced()
        await db.execute("insert into public.bench_guests values (%s)", [user])
        watched = Watched(listener, dict.fromkeys(range(100001, 100001 + ROWS), time.monotonic()))
        async with in_its_place(_watch(watched)):
            while watched.committed:  # noqa: ASYNC110 - the watch looks every 10 ms
                await asyncio.sleep(0.05)
        return watched.longest


def run_truth_bench(progress: Callable[[str], None]) -> dict[str, Any]:
    """Takes about two minutes."""

    async def job() -> dict[str, float]:
        limits = Limits.generous()
        async with LocalStack(migrations=packaged_migrations(), pace="genuine", limits=limits) as stack:
            return await _measure(stack, progress)

    measured = asyncio.run(job())
    return {
        "measured": {name: round(value, 4) for name, value in measured.items()},
        "targets": TARGETS,
        "met": {name: measured[name] <= goal for name, goal in TARGETS.items()},
        "rows": ROWS,
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
    }
