"""What the local stack can do, measured: every figure beside its target, in one run, as one JSON object.

Stack, writer and subscribers are processes of their own, on this machine only, bounded in count and time. The
subscribers read frames as cheaply as Python can and check that every change is there, once, in order. The reference
is a bare ``websockets`` server that broadcasts frames of the same kind to the same subscribers.
"""

from __future__ import annotations

import asyncio
import base64
import json
import multiprocessing
import os
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil
import psycopg
from websockets.asyncio.server import broadcast, serve

from realtime_toolkit import verify
from realtime_toolkit.events import RowChanged
from realtime_toolkit.follow.listener import Listener
from realtime_toolkit.migrate import packaged_migrations
from realtime_toolkit.model import Scope
from realtime_toolkit.settings import mint_token
from realtime_toolkit.stack import LocalStack
from realtime_toolkit.stack.realtime.limits import Limits
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
BODY = "x" * 100
"""Makes a frame of about 450 bytes."""

_ID = re.compile(rb'"id": ?(\d+)')
_DEADLINE = 60.0


# --- a subscriber that costs as little as possible ---------------------------------------------------


class Subscriber(asyncio.Protocol):
    """Speaks just enough WebSocket to join and to count; keeps the time of each id's arrival if asked to."""

    def __init__(self, hello: bytes, join: str | None, expected: int, keep_times: bool) -> None:
        self._hello, self._join, self._expected = hello, join, expected
        self._buffer = bytearray()
        self._shaken = False
        self.joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.times: dict[int, float] | None = {} if keep_times else None
        self.next_id = 1
        self.frames = 0
        self.last = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._hello)

    def connection_lost(self, error: Exception | None) -> None:
        for future in (self.joined, self.done):
            if not future.done():
                future.set_exception(ConnectionError(f"cut off after {self.frames} frames"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._shaken:
            self._shake()
        if self._shaken:
            self._frames()

    def send(self, text: str) -> None:
        """A masked text frame; the mask of zeros leaves the bytes as they are."""
        payload = text.encode()
        size = len(payload)
        head = struct.pack(">BB", 0x81, 0x80 | size) if size < 126 else struct.pack(">BBH", 0x81, 0xFE, size)
        self._transport.write(head + bytes(4) + payload)

    def _shake(self) -> None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        if b" 101 " not in self._buffer[:end]:
            self.joined.set_exception(ConnectionError(bytes(self._buffer[:200]).decode()))
            return
        del self._buffer[: end + 4]
        self._shaken = True
        if self._join is None:
            self.joined.set_result(None)
        else:
            self.send(self._join)

    def _frames(self) -> None:
        buffer, start, frames = self._buffer, 0, 0
        while (end := _frame_end(buffer, start)) is not None:
            start, frames = end, frames + 1
        if not start:
            return
        whole = bytes(memoryview(buffer)[:start])
        del buffer[:start]
        if not self.joined.done():
            if b"Subscribed to PostgreSQL" in whole:
                self.joined.set_result(None)
            return
        self._count(frames, [int(found) for found in _ID.findall(whole)])

    def _count(self, frames: int, ids: list[int]) -> None:
        if ids != list(range(self.next_id, self.next_id + len(ids))):
            if not self.done.done():
                self.done.set_exception(
                    AssertionError(f"out of order or missing after {self.next_id - 1}: {ids[:5]}")
                )
            return
        now = time.time()
        if self.times is not None:
            self.times.update(dict.fromkeys(ids, now))
        self.next_id += len(ids)
        self.frames += len(ids)
        self.last = now
        if self.frames >= self._expected and not self.done.done():
            self.done.set_result(None)


def _frame_end(buffer: bytearray, start: int) -> int | None:
    """Where the (unmasked) frame that begins at ``start`` ends; ``None`` if it is not all there."""
    if len(buffer) < start + 2:
        return None
    size, head = buffer[start + 1], 2
    if size == 126:
        if len(buffer) < start + 4:
            return None
        size, head = (buffer[start + 2] << 8) | buffer[start + 3], 4
    elif size == 127:
        if len(buffer) < start + 10:
            return None
        size, head = int.from_bytes(buffer[start + 2 : start + 10]), 10
    end = start + head + size
    return end if len(buffer) >= end else None


def _hello(url: str, path: str) -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    host = urlsplit(url).netloc
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


@dataclass(frozen=True, slots=True)
class Audience:
    """Who listens to what; picklable, for a process of its own."""

    url: str
    path: str
    joins: tuple[str | None, ...]
    expected: int
    keep_times: bool = False


def subscribe(audience: Audience, pipe: Connection) -> None:
    """Process: join all, say so, count until each has everything, and send what was seen."""
    pipe.send(asyncio.run(_subscribe(audience, lambda: pipe.send("joined"))))


async def _subscribe(audience: Audience, joined: Callable[[], None]) -> dict[str, Any]:
    address = urlsplit(audience.url)
    loop = asyncio.get_running_loop()
    subscribers = []
    for join in audience.joins:
        make = lambda join=join: Subscriber(  # noqa: E731
            _hello(audience.url, audience.path), join, audience.expected, audience.keep_times
        )
        _, subscriber = await loop.create_connection(make, address.hostname or "", address.port or 0)
        await asyncio.wait_for(subscriber.joined, 10)
        subscribers.append(subscriber)
    joined()
    try:
        await asyncio.wait_for(asyncio.gather(*(s.done for s in subscribers)), _DEADLINE)
    except (TimeoutError, ConnectionError, AssertionError) as error:
        return {"error": f"{type(error).__name__}: {error}", "frames": sum(s.frames for s in subscribers)}
    return {
        "frames": sum(s.frames for s in subscribers),
        "last": max(s.last for s in subscribers),
        "times": subscribers[0].times,
    }


def _join(token: str, topic: str) -> str:
    binding = {"event": "INSERT", "schema": "public", "table": "bench_rows"}
    config = {
        "broadcast": {},
        "presence": {"enabled": False},
        "postgres_changes": [binding],
        "private": False,
    }
    return json.dumps(["1", "1", f"realtime:{topic}", "phx_join", {"config": config, "access_token": token}])


# --- a writer ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Script:
    """``total`` rows, ``batch`` a transaction, ``rate`` transactions a second (``None``: as fast as it goes)."""

    dsn: str
    total: int
    batch: int
    rate: float | None = None


def write(script: Script, pipe: Connection) -> None:
    """Process: wait for the word, insert, and send when each transaction's COMMIT had returned."""
    insert = "insert into public.bench_rows select i, 1, %s from generate_series(%s::bigint, %s::bigint) i"
    commits: list[tuple[int, float]] = []
    with psycopg.connect(script.dsn, autocommit=True) as db:
        db.execute("truncate public.bench_rows")
        db.execute(insert, (BODY, 0, -1))  # nothing yet, but prepared
        pipe.send("ready")
        pipe.recv()
        begun = time.time()
        for number, first in enumerate(range(1, script.total + 1, script.batch)):
            if script.rate is not None:
                time.sleep(max(0.0, begun + number / script.rate - time.time()))
            last = min(first + script.batch - 1, script.total)
            db.execute(insert, (BODY, first, last))
            commits.append((last, time.time()))
    pipe.send({"begun": begun, "commits": commits})


# --- the stack in its own process --------------------------------------------------------------------


def keep_stack(pipe: Connection) -> None:
    """Process: a migrated stack until told to stop."""
    asyncio.run(_keep_stack(pipe))


async def _keep_stack(pipe: Connection) -> None:
    async with LocalStack(migrations=packaged_migrations(), limits=Limits.generous()) as stack:
        pipe.send({**stack.env(), "port": stack.url.rsplit(":", 1)[1]})
        await asyncio.to_thread(pipe.recv)


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


_SPAWN = multiprocessing.get_context("spawn")


class Helper:
    """A spawned process with a pipe; ended with the block."""

    def __init__(self, target: Callable[..., None], *args: Any) -> None:
        self._here, there = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=target, args=(*args, there), daemon=True)
        self._process.start()
        there.close()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def say(self, word: str = "go") -> None:
        self._here.send(word)

    def hear(self, seconds: float = _DEADLINE + 20) -> Any:
        if not self._here.poll(seconds):
            raise TimeoutError(f"{self._process.name} said nothing for {seconds:.0f} s")
        return self._here.recv()

    def end(self) -> None:
        self._process.join(10)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()


# --- the measurements --------------------------------------------------------------------------------


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
    from realtime_toolkit.stack.postgres.places import cache_dir
    from realtime_toolkit.stack.rest import find_postgrest

    with tempfile.TemporaryDirectory(prefix="srt-bench-") as empty:
        env = {**os.environ, "XDG_CACHE_HOME": empty, "POSTGREST_BIN": str(find_postgrest(cache_dir()))}
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
    joins = tuple(_join(tokens[n % len(tokens)], f"bench{n}") for n in range(sockets))
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
            await asyncio.wait_for(all_there.wait(), _DEADLINE)
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


# --- verify ------------------------------------------------------------------------------------------

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
