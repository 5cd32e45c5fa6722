"""The processes of a bench, each with a pipe: a stack, a writer, and subscribers that cost as little as Python can.

The subscribers check that every change is there, once, in order.
"""

from __future__ import annotations

import asyncio
import base64
import json
import multiprocessing
import os
import re
import struct
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg

from realtime_toolkit.migrate import packaged_migrations
from realtime_toolkit.stack import LocalStack
from realtime_toolkit.stack.realtime.limits import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from multiprocessing.connection import Connection


_ID = re.compile(rb'"id": ?(\d+)')
DEADLINE = 60.0
BODY = "x" * 100
"""Makes a frame of about 450 bytes."""

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
        await asyncio.wait_for(asyncio.gather(*(s.done for s in subscribers)), DEADLINE)
    except (TimeoutError, ConnectionError, AssertionError) as error:
        return {"error": f"{type(error).__name__}: {error}", "frames": sum(s.frames for s in subscribers)}
    return {
        "frames": sum(s.frames for s in subscribers),
        "last": max(s.last for s in subscribers),
        "times": subscribers[0].times,
    }


def join_of(token: str, topic: str) -> str:
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


@asynccontextmanager
async def in_its_place(work: Coroutine[Any, Any, Any]) -> AsyncIterator[None]:
    """Run it beside the block; its failure is the block's."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        if not task.done():
            task.cancel()
        with suppress(asyncio.CancelledError):
            await task


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

    def hear(self, seconds: float = DEADLINE + 20) -> Any:
        if not self._here.poll(seconds):
            raise TimeoutError(f"{self._process.name} said nothing for {seconds:.0f} s")
        return self._here.recv()

    def end(self) -> None:
        self._process.join(10)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()
