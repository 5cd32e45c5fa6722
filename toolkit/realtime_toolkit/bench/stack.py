"""``bench stack``: start, memory, latency and throughput of the local stack.

The reference is a bare ``websockets`` server that broadcasts frames of the same kind to the same subscribers.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
from websockets.asyncio.server import broadcast, serve

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
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection

    from realtime_toolkit.events import Event

TARGETS = {
    "start_cold_s": 1.5,
    "start_warm_s": 0.5,
    "clone_ms": 100.0,
    "idle_memory_mb": 250.0,
    "latency_p50_ms": 2.0,
    "latency_p99_ms": 10.0,
    "commit_to_handler_p50_ms": 5.0,
    "one_subscriber_changes_per_s": 6_000.0,
    "fifty_subscribers_frames_per_s": 50_000.0,
}
_AT_LEAST = frozenset({"one_subscriber_changes_per_s", "fifty_subscribers_frames_per_s"})

SCHEMA = """
create table public.bench_members (room int, user_id uuid, primary key (user_id, room));
alter table public.bench_members enable row level security;
create policy own on public.bench_members for select to authenticated using (user_id = (select auth.uid()));
create table public.bench_rows (id bigint primary key, room int not null, body text not null);
alter table public.bench_rows enable row level security;
create policy members on public.bench_rows for select to authenticated
  using (room in (select m.room from public.bench_members m where m.user_id = (select auth.uid())));
alter publication supabase_realtime add table public.bench_rows;
"""


def keep_bare_server(spec: tuple[int, int], pipe: Connection) -> None:
    """Process: the reference. Broadcasts ``total`` frames to ``clients`` when told to."""
    asyncio.run(_keep_bare_server(*spec, pipe))


async def _keep_bare_server(total: int, clients: int, pipe: Connection) -> None:
    connected: set[Any] = set()

    async def handler(connection: Any) -> None:
        connected.add(connection)
        await connection.wait_closed()

    async with serve(handler, "127.0.0.1", 0, compression=None) as server:
        pipe.send(next(iter(server.sockets)).getsockname()[1])
        await asyncio.to_thread(pipe.recv)
        begun = time.time()
        for number in range(1, total + 1):
            broadcast(connected, f'{{"id": {number}, "body": "{"x" * 420}"}}')
            if number % 20 == 0:
                await _drained(connected)
        pipe.send(begun)
        await asyncio.to_thread(pipe.recv)


async def _drained(connections: set[Any]) -> None:
    while any(c.transport.get_write_buffer_size() > 1 << 20 for c in connections):  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    await asyncio.sleep(0)


def measure_start() -> dict[str, float]:
    """Seconds from nothing to ready, inside a fresh interpreter: with no prepared data directory, and with one."""
    code = (
        "import asyncio, time\n"
        "from realtime_toolkit.migrate import packaged_migrations\n"
        "from realtime_toolkit.stack import LocalStack\n"
        "async def main():\n"
        "    begun = time.monotonic()\n"
        "    async with LocalStack(migrations=packaged_migrations()):\n"
        "        print(time.monotonic() - begun)\n"
        "asyncio.run(main())\n"
    )

    def start(env: dict[str, str]) -> float:
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True
        )
        return float(done.stdout)

    warm = [start(dict(os.environ)) for _ in range(4)][1:]
    from realtime_toolkit.stack.postgres.binaries import DEFAULT, find_install
    from realtime_toolkit.stack.postgres.places import NAME, cache_dir
    from realtime_toolkit.stack.rest import find_postgrest

    binaries = find_install(DEFAULT, cache_dir()).bin.parents[1]
    with tempfile.TemporaryDirectory(prefix="srt-bench-") as empty:
        env = {**os.environ, "XDG_CACHE_HOME": empty, "POSTGREST_BIN": str(find_postgrest(cache_dir()))}
        (Path(empty) / NAME).mkdir()
        (Path(empty) / NAME / "postgres").symlink_to(binaries)  # downloads are not what is measured
        cold = start(env)
    return {"start_cold_s": cold, "start_warm_s": statistics.median(warm)}


def measure_memory(pid: int) -> float:
    """Proportional set size (MB) of a process and all below it."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return float(sum(process.memory_full_info().pss for process in processes)) / 1e6


def measure_clone(dsn: str) -> float:
    """Milliseconds (median of 5) for a database made as a copy of another, as each test gets one."""
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("create database bench_template template template0")
        with psycopg.connect(dsn.rsplit("/", 1)[0] + "/bench_template") as template:
            template.execute("create table t as select i from generate_series(1, 1000) i")
        took = []
        for number in range(5):
            begun = time.monotonic()
            db.execute(f"create database bench_clone_{number} template bench_template")
            took.append(time.monotonic() - begun)
    return statistics.median(took) * 1000


def deliver(
    env: dict[str, str], users: Sequence[str], sockets: int, script: Script, *, times: bool
) -> dict[str, Any]:
    """Let a writer write and ``sockets`` subscribers of these users receive; raises if one missed anything."""
    path = f"/realtime/v1/websocket?apikey={env['SUPABASE_ANON_KEY']}&vsn=2.0.0"
    tokens = [mint_token(env["SUPABASE_JWT_SECRET"], user) for user in users]
    joins = tuple(join_of(tokens[n % len(tokens)], f"bench{n}") for n in range(sockets))
    writer = Helper(write, script)
    writer.hear()
    audience = Helper(subscribe, Audience(env["SUPABASE_URL"], path, joins, script.total, times))
    assert audience.hear() == "joined"
    writer.say()
    written, seen = writer.hear(), audience.hear()
    writer.end()
    audience.end()
    if "error" in seen:
        raise AssertionError(f"{sockets} subscribers, {script.total} changes: {seen['error']}")
    return {**written, **seen}


def latency(run: dict[str, Any]) -> list[float]:
    """Milliseconds from the return of each COMMIT to the arrival of its (only) row; sorted."""
    return sorted((run["times"][last] - committed) * 1000 for last, committed in run["commits"])


def measure_handler(env: dict[str, str], user: str) -> float:
    """Milliseconds (median) from the return of COMMIT to the call of a listener's handler, at 20 changes/s."""
    with psycopg.connect(env["DATABASE_URL"], autocommit=True) as db:
        made = db.execute(
            "insert into conversations (user_id) values (%s) returning id::text", [user]
        ).fetchone()
    assert made is not None
    follower = Helper(follow, env, user, made[0])
    follower.hear()
    committed = []
    with psycopg.connect(env["DATABASE_URL"], autocommit=True) as db:
        begun = time.time()
        for number in range(1, HANDLED + 1):
            time.sleep(max(0.0, begun + number / 20 - time.time()))
            db.execute("update conversations set title = %s where id = %s", [str(number), made[0]])
            committed.append(time.time())
    handled = follower.hear()
    follower.end()
    return 1000 * statistics.median(float(handled[n]) - committed[n] for n in range(HANDLED))


HANDLED = 200


def follow(env: dict[str, str], user: str, conversation: str, pipe: Connection) -> None:
    """Process: a listener as an application would run it; sends when each change reached the handler."""
    asyncio.run(_follow(env, user, conversation, pipe))


async def _follow(env: dict[str, str], user: str, conversation: str, pipe: Connection) -> None:
    times: list[float] = []
    all_there = asyncio.Event()

    def on_event(event: Event) -> None:
        if isinstance(event, RowChanged) and event.via == "live":
            times.append(time.time())
            if len(times) == HANDLED:
                all_there.set()

    token = mint_token(env["SUPABASE_JWT_SECRET"], user)
    url, key = env["SUPABASE_URL"], env["SUPABASE_ANON_KEY"]
    async with RestStore(url, key, token=lambda: token) as source:
        scope = Scope("conversation", conversation)
        async with Listener(url, key, token, scope, source, on_event=on_event) as listener:
            await listener.synced()
            pipe.send("synced")
            await asyncio.wait_for(all_there.wait(), DEADLINE)
    pipe.send(times)


def per_second(run: dict[str, Any]) -> float:
    return float(run["frames"] / (run["last"] - run["begun"]))


def measure_bare(total: int, clients: int) -> float:
    """Frames a second of the reference."""
    server = Helper(keep_bare_server, (total, clients))
    url = f"http://127.0.0.1:{server.hear()}"
    audience = Helper(subscribe, Audience(url, "/", (None,) * clients, total))
    assert audience.hear() == "joined"
    server.say()
    begun, seen = server.hear(), audience.hear()
    server.say()
    server.end()
    audience.end()
    return float(seen["frames"] / (seen["last"] - begun))


def _met(name: str, value: float) -> bool:
    return value >= TARGETS[name] if name in _AT_LEAST else value <= TARGETS[name]


def run_stack_bench(progress: Callable[[str], None]) -> dict[str, Any]:
    """Everything; takes about a minute. The keys of ``measured`` are those of :data:`TARGETS`, and a few more."""
    progress("start, cold and warm")
    measured: dict[str, float] = dict(measure_start())
    stack = Helper(keep_stack)
    try:
        env = stack.hear()
        time.sleep(1)  # let it come to rest
        measured["idle_memory_mb"] = measure_memory(stack.pid)
        measured["clone_ms"] = measure_clone(env["DATABASE_URL"])
        users = [str(uuid.uuid4()) for _ in range(10)]
        with psycopg.connect(env["DATABASE_URL"], autocommit=True) as db:
            db.execute(SCHEMA)
            for user in users:
                db.execute("insert into public.bench_members values (1, %s)", [user])
        dsn = env["DATABASE_URL"]
        progress("latency at 100 changes/s")
        deliver(env, users[:1], 1, Script(dsn, 100, 1, 100), times=False)  # warms up
        ranked = latency(deliver(env, users[:1], 1, Script(dsn, 1500, 1, 100), times=True))
        measured["latency_p50_ms"] = ranked[len(ranked) // 2]
        measured["latency_p99_ms"] = ranked[int(len(ranked) * 0.99)]
        progress("commit to handler at 20 changes/s")
        measured["commit_to_handler_p50_ms"] = measure_handler(env, users[0])
        progress("one subscriber")
        measured["one_subscriber_changes_per_s"] = per_second(
            deliver(env, users[:1], 1, Script(dsn, 60_000, 20), times=False)
        )
        progress("fifty subscribers of ten users")
        fifty = per_second(deliver(env, users, 50, Script(dsn, 10_000, 20), times=False))
        measured["fifty_subscribers_frames_per_s"] = fifty
        progress("10,000 rows in one transaction")
        deliver(env, users[:1], 1, Script(dsn, 10_000, 10_000), times=False)
        measured["memory_after_mb"] = measure_memory(stack.pid)
    finally:
        stack.say()
        stack.end()
    progress("the reference: a bare websockets server")
    bare = measure_bare(10_000, 50)
    measured |= {"bare_server_frames_per_s": bare, "ratio_to_bare": fifty / bare}
    return {
        "measured": {name: round(value, 3) for name, value in measured.items()},
        "targets": TARGETS,
        "met": {name: _met(name, measured[name]) for name in TARGETS},
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
    }
