"""``bench listen``: what it costs to follow a table, beside the stock ``realtime`` client in the same run.

Each consumer is a process of its own, as an application would run it: a user's token, row level security, a
handler in Python. Figures are that process's own: CPU by ``time.process_time``, memory as its private set size.

A row's *own data* is the row as compact JSON. What it costs to hold is measured against that, for it is what must be
kept at least; the same rows as a list of decoded dicts, which an application would have without this package, stand
beside it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import statistics
import sys
import time
import uuid
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import psycopg

from realtime_toolkit.bench.processes import (
    DEADLINE,
    Audience,
    Helper,
    Script,
    join_of,
    keep_stack,
    subscribe,
    write,
)
from realtime_toolkit.events import RowChanged
from realtime_toolkit.follow.listener import Listener
from realtime_toolkit.model import Scope
from realtime_toolkit.settings import mint_token
from realtime_toolkit.store import RestStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from realtime_toolkit.events import Event

TARGETS = {
    "listener_change_cpu_us": 40.0,
    "cpu_ratio": 4.0,
    "rate_ratio": 3.0,
    "sync_cpu_us": 20.0,
    "sync_overhead_bytes": 900.0,
    "streaming_sync_cpu_us": 20.0,
    "streaming_sync_overhead_bytes": 900.0,
}
"""Microseconds a change or row, bytes a row above its own data; ratios are stock client to listener and the reverse."""
_AT_LEAST = frozenset({"cpu_ratio", "rate_ratio"})

CHANGES = 10_000
ROUNDS = 3
ROWS = 100_000
STREAMED = 300_000
SCOPE = Scope("room", "1")

SCHEMA = """
create table public.bench_members (room int, user_id uuid, primary key (user_id, room));
alter table public.bench_members enable row level security;
create policy own on public.bench_members for select to authenticated using (user_id = (select auth.uid()));
grant select on public.bench_members to authenticated;
create table public.bench_rows (id bigint primary key, room int not null, body text not null);
alter table public.bench_rows enable row level security;
create policy members on public.bench_rows for select to authenticated
  using (room in (select m.room from public.bench_members m where m.user_id = (select auth.uid())));
grant select on public.bench_rows to authenticated;
select public.track_table('public.bench_rows', kind => 'room', scope_column => 'room');
"""


class Used:
    """CPU seconds and bytes of this process since it was made."""

    def __init__(self) -> None:
        gc.collect()
        self._bytes = _private_bytes()
        self._cpu, self._begun = time.process_time(), time.monotonic()

    def report(self, **more: float) -> dict[str, float]:
        cpu, seconds = time.process_time() - self._cpu, time.monotonic() - self._begun
        gc.collect()
        return {"cpu": cpu, "seconds": seconds, "bytes": _private_bytes() - self._bytes, **more}


def _private_bytes() -> int:
    return int(psutil.Process().memory_full_info().uss)


# --- consumers: processes -----------------------------------------------------------------------------


def drain_listener(env: dict[str, str], user: str, pipe: Connection) -> None:
    """Process: follow, stand still until told to go on, then take in what has come."""
    asyncio.run(_drain_listener(env, user, pipe))


async def _drain_listener(env: dict[str, str], user: str, pipe: Connection) -> None:
    left = Countdown(CHANGES)

    def on_event(event: Event) -> None:
        if isinstance(event, RowChanged) and event.via == "live":
            left.one()

    async with _source(env, user) as source, _listener(env, user, source, on_event) as listener:
        await listener.synced()
        pipe.send(await _drained(pipe, left))


def drain_stock(env: dict[str, str], user: str, pipe: Connection) -> None:
    """Process: the same with the client that everybody has."""
    asyncio.run(_drain_stock(env, user, pipe))


async def _drain_stock(env: dict[str, str], user: str, pipe: Connection) -> None:
    from realtime import AsyncRealtimeClient, RealtimePostgresChangesListenEvent

    left, subscribed = Countdown(CHANGES), asyncio.Event()
    client = AsyncRealtimeClient(f"{env['SUPABASE_URL']}/realtime/v1", env["SUPABASE_ANON_KEY"])
    await client.connect()
    await client.set_auth(mint_token(env["SUPABASE_JWT_SECRET"], user))
    channel = client.channel("bench")
    channel.on_postgres_changes(
        RealtimePostgresChangesListenEvent.All,
        lambda _: left.one(),
        schema="public",
        table="bench_rows",
        filter="room=eq.1",
    )
    channel.on_system(lambda _: subscribed.set())
    await channel.subscribe()
    await asyncio.wait_for(subscribed.wait(), DEADLINE)
    pipe.send(await _drained(pipe, left))
    await client.close()


class Countdown:
    def __init__(self, count: int) -> None:
        self._left = count
        self.done = asyncio.Event()

    def one(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.done.set()


async def _drained(pipe: Connection, left: Countdown) -> dict[str, float]:
    pipe.send("joined")
    pipe.recv()  # stands still, and with it the loop: what comes waits in the sockets
    used = Used()
    await asyncio.wait_for(left.done.wait(), DEADLINE)
    return used.report()


def sync_listener(env: dict[str, str], user: str, rows: int, pipe: Connection) -> None:
    """Process: follow until so many rows are there and ``synced``."""
    asyncio.run(_sync_listener(env, user, rows, pipe))


async def _sync_listener(env: dict[str, str], user: str, rows: int, pipe: Connection) -> None:
    async with _source(env, user) as source:
        async with _listener(env, user, source, lambda _: None, Scope("room", "2")) as warm:
            await warm.synced()
        pipe.send("warm")
        pipe.recv()
        used = Used()
        async with _listener(env, user, source, lambda _: None) as listener:
            await listener.synced()
            while len(listener.replica) < rows:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await listener.synced()
            pipe.send(used.report(rows=len(listener.replica), live=listener.stats.changes))


def fetch_dicts(env: dict[str, str], user: str, rows: int, pipe: Connection) -> None:
    """Process: the same rows by plain requests, decoded and kept."""
    asyncio.run(_fetch_dicts(env, user, rows, pipe))


async def _fetch_dicts(env: dict[str, str], user: str, rows: int, pipe: Connection) -> None:
    token = mint_token(env["SUPABASE_JWT_SECRET"], user)
    headers = {"apikey": env["SUPABASE_ANON_KEY"], "Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=env["SUPABASE_URL"], headers=headers) as client:
        kept: list[dict[str, Any]] = []
        pipe.send("warm")
        pipe.recv()
        used = Used()
        while len(kept) < rows:
            last = kept[-1]["id"] if kept else 0
            query = f"/rest/v1/bench_rows?room=eq.1&order=id&limit=1000&id=gt.{last}"
            kept += (await client.get(query)).json()
        pipe.send(used.report(rows=len(kept)))


def _source(env: dict[str, str], user: str) -> RestStore:
    token = mint_token(env["SUPABASE_JWT_SECRET"], user)
    return RestStore(env["SUPABASE_URL"], env["SUPABASE_ANON_KEY"], lambda: token, timeout=60)


def _listener(
    env: dict[str, str], user: str, source: RestStore, on_event: Callable[[Event], None], scope: Scope = SCOPE
) -> Listener:
    token = mint_token(env["SUPABASE_JWT_SECRET"], user)
    url, key = env["SUPABASE_URL"], env["SUPABASE_ANON_KEY"]
    return Listener(url, key, lambda: token, scope, source, on_event=on_event)


# --- measurements -------------------------------------------------------------------------------------


def drain(env: dict[str, str], user: str, consumer: Callable[..., None]) -> dict[str, float]:
    """CPU and seconds that ``consumer`` takes for changes that are all on their way already."""
    writer = Helper(write, Script(env["DATABASE_URL"], CHANGES, 20))
    writer.hear()
    path = f"/realtime/v1/websocket?apikey={env['SUPABASE_ANON_KEY']}&vsn=2.0.0"
    join = join_of(mint_token(env["SUPABASE_JWT_SECRET"], user), "witness")
    witness = Helper(subscribe, Audience(env["SUPABASE_URL"], path, (join,), CHANGES))
    following = Helper(consumer, env, user)
    assert witness.hear() == "joined"
    assert following.hear() == "joined"
    writer.say()
    writer.hear()
    seen = witness.hear()  # the server has sent everything to everybody
    if "error" in seen:
        raise AssertionError(f"the stack has not delivered: {seen['error']}")
    following.say()
    used: dict[str, float] = following.hear()
    for each in (writer, witness, following):
        each.end()
    return used


def fill(dsn: str, rows: int) -> None:
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("truncate public.bench_rows")
        db.execute(
            "insert into public.bench_rows select i, 1, repeat('x', 100) from generate_series(1, %s) i",
            [rows],
        )
        db.execute("analyze public.bench_rows")


def own_bytes(dsn: str) -> float:
    """A row's own data, on average: what PostgREST answers, as compact JSON."""
    with psycopg.connect(dsn) as db:
        found = db.execute("select to_jsonb(t) from public.bench_rows t limit 1000").fetchall()
    return statistics.mean(len(json.dumps(row, separators=(",", ":")).encode()) for (row,) in found)


def fetch(env: dict[str, str], user: str, consumer: Callable[..., None], rows: int) -> dict[str, float]:
    following = Helper(consumer, env, user, rows)
    assert following.hear() == "warm"
    following.say()
    used: dict[str, float] = following.hear(300)
    following.end()
    return used


def fetch_while_written(env: dict[str, str], user: str) -> dict[str, float]:
    """The listener joins while the rows are being written, so that they come both ways."""
    writer = Helper(write, Script(env["DATABASE_URL"], STREAMED, 1000, 20))
    writer.hear()
    following = Helper(sync_listener, env, user, STREAMED)
    assert following.hear() == "warm"
    following.say()
    writer.say()
    used: dict[str, float] = following.hear(300)
    writer.hear()
    for each in (writer, following):
        each.end()
    return used


def measure_changes(env: dict[str, str], user: str) -> dict[str, float]:
    """By turns, so that what else the machine does falls on both."""
    runs = [(drain(env, user, drain_stock), drain(env, user, drain_listener)) for _ in range(ROUNDS)]
    measured = {}
    for name, place in (("stock", 0), ("listener", 1)):
        measured[f"{name}_change_cpu_us"] = (
            statistics.median(run[place]["cpu"] for run in runs) / CHANGES * 1e6
        )
        measured[f"{name}_changes_per_s"] = CHANGES / statistics.median(run[place]["seconds"] for run in runs)
    measured["cpu_ratio"] = measured["stock_change_cpu_us"] / measured["listener_change_cpu_us"]
    measured["rate_ratio"] = measured["listener_changes_per_s"] / measured["stock_changes_per_s"]
    return measured


def run_listen_bench(progress: Callable[[str], None]) -> dict[str, Any]:
    """Everything; takes about a minute. The keys of ``measured`` are those of :data:`TARGETS`, and a few more."""
    stack = Helper(keep_stack)
    user = str(uuid.uuid4())
    try:
        env = stack.hear()
        with psycopg.connect(env["DATABASE_URL"], autocommit=True) as db:
            db.execute(SCHEMA)
            db.execute("insert into public.bench_members values (1, %s)", [user])
        progress(f"{CHANGES:,} changes, stock client and listener by turns")
        measured = measure_changes(env, user)
        progress(f"{ROWS:,} rows fetched, as dicts and by a listener")
        fill(env["DATABASE_URL"], ROWS)
        own = measured["own_bytes"] = own_bytes(env["DATABASE_URL"])
        for name, consumer in (("dicts", fetch_dicts), ("sync", sync_listener)):
            used = fetch(env, user, consumer, ROWS)
            measured |= {f"{name}_cpu_us": used["cpu"] / ROWS * 1e6}
            measured |= {f"{name}_overhead_bytes": used["bytes"] / ROWS - own}
        progress(f"{STREAMED:,} rows fetched while they are being written")
        used = fetch_while_written(env, user)
        measured |= {
            "streaming_sync_cpu_us": used["cpu"] / STREAMED * 1e6,
            "streaming_sync_overhead_bytes": used["bytes"] / STREAMED - own,
            "streaming_sync_live": used["live"] / STREAMED,
        }
    finally:
        stack.say()
        stack.end()
    return {
        "measured": {name: round(value, 3) for name, value in measured.items()},
        "targets": TARGETS,
        "met": {name: _met(name, measured[name]) for name in TARGETS},
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
    }


def _met(name: str, value: float) -> bool:
    return value >= TARGETS[name] if name in _AT_LEAST else value <= TARGETS[name]
