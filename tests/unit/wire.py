"""The other end of a listener's wires, in a test's hands: a websocket server, and a source of rows.

The server is a real one on a real socket; what it says has the form of frames recorded from the genuine
server v2.129.8. A test plays the part of Realtime: it accepts a peer, answers its join, sends.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from realtime_toolkit.errors import StoreUnavailable
from realtime_toolkit.events import Event, RowChanged, State
from realtime_toolkit.follow.listener import Listener, Timing
from realtime_toolkit.model import (
    Digest,
    Glance,
    Row,
    RowRef,
    Scope,
    SyncedRow,
    SyncPage,
    TrackedTable,
    key_hash,
    row_hash,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from websockets.http11 import Request, Response

STAMPS = ("created_at", "version", "changed_in")
ITEMS = TrackedTable("public", "items", "box", ("id",), ("id", "box", "body", *STAMPS))
MESSAGES = TrackedTable(
    "public", "messages", "conversation_id", ("id",), ("id", "attempt", "status", "content", *STAMPS)
)
CHUNKS = TrackedTable(
    "public",
    "message_chunks",
    "conversation_id",
    ("message_id", "attempt", "seq"),
    ("message_id", "attempt", "seq", "position", "body", *STAMPS),
)
SCOPE = Scope("box", "1")
QUICK = Timing(
    connect=2,
    join=0.5,
    subscribe=0.5,
    heartbeat=0.05,
    reply=0.1,
    close=0.3,
    check=60,
    behind=0.05,
    hole=0.05,
    refetch=0.02,
)
LIMIT = 5.0
"""Seconds that a test waits for an event."""


class Shelf:
    """Rows as a source shows them; also makes the frames that announce their changes."""

    def __init__(self, *tables: TrackedTable) -> None:
        self.known = {table.name: table for table in tables or (ITEMS,)}
        self.rows_: dict[RowRef, SyncedRow] = {}
        self.xid = 100
        self.failures: deque[Exception] = deque()
        """Raised by the next calls, one each."""
        self.calls: list[str] = []
        self.called = asyncio.Event()
        """Set by every call."""
        self.gate = asyncio.Event()
        """Calls wait while it is clear."""
        self.gate.set()
        self.permits: asyncio.Semaphore | None = None
        """Where there is one, each call needs one."""
        self.epoch, self.pulse = "e", "p"
        self.broken: set[str] = set()
        """Calls that find nobody."""

    def put(self, table: TrackedTable, **values: Any) -> dict[str, Any]:
        """Insert or update by key; returns the payload that says so."""
        self.xid += 1
        ref = RowRef(table.name, table.key_of(values))
        before = self.rows_.get(ref)
        version = before.version + 1 if before else 1
        born = before.row["created_at"] if before and before.row else f"2026-01-01T00:00:00.{self.xid}+00:00"
        row: Row = {**values, "version": version, "changed_in": str(self.xid), "created_at": born}
        self.rows_[ref] = SyncedRow(ref.table, ref.key, version, self.xid, row)
        return self._payload(table, "UPDATE" if before else "INSERT", record=row)

    def drop(self, table: TrackedTable, **key: Any) -> dict[str, Any]:
        self.xid += 1
        del self.rows_[RowRef(table.name, table.key_of(key))]
        return self._payload(table, "DELETE", old_record=key)

    def _payload(self, table: TrackedTable, type_: str, **rows: Row) -> dict[str, Any]:
        data = {
            "schema": table.schema,
            "table": table.table,
            "type": type_,
            "commit_timestamp": f"2026-01-01T00:00:{self.xid // 1000:02}.{self.xid % 1000:03}Z",
            "columns": [{"name": name, "type": "text"} for name in rows.get("record", {})],
            "errors": None,
            **rows,
        }
        return {"ids": [1], "data": data}

    async def until_called(self, name: str) -> None:
        """Wait for the next call of this name."""
        before = self.calls.count(name)
        async with asyncio.timeout(LIMIT):
            while self.calls.count(name) == before:
                self.called.clear()
                await self.called.wait()

    async def _called(self, name: str) -> None:
        self.calls.append(name)
        self.called.set()
        await self.gate.wait()
        if self.permits is not None:
            await self.permits.acquire()
        if name in self.broken:
            raise StoreUnavailable(f"{name}: nobody there")
        if self.failures:
            raise self.failures.popleft()

    async def tables(self, kind: str) -> tuple[TrackedTable, ...]:
        await self._called("tables")
        return tuple(self.known.values())

    async def sync(
        self,
        scope: Scope,
        since: int | None,
        epoch: str | None,
        page_size: int = 5000,
        after: str | None = None,
    ) -> SyncPage:
        await self._called("sync")
        rows = tuple(row for row in self.rows_.values() if since is None or row.changed_in >= since)
        total = Digest()
        for row in self.rows_.values():
            total = total.plus(row_hash(row.table, row.key, row.version, row.changed_in))
        return SyncPage(self.epoch, self.xid + 1, since is None, False, total, rows)

    async def glance(self, scope: Scope, whole: bool = True) -> Glance:
        await self._called("glance")
        total = Digest()
        for row in self.rows_.values():
            total = total.plus(row_hash(row.table, row.key, row.version, row.changed_in))
        return Glance(self.epoch, self.pulse, self.xid + 1, total, 0.0001)

    async def digest(
        self, scope: Scope, prefixes: Sequence[str] = ("",), salt: str = ""
    ) -> dict[str, Digest]:
        await self._called("digest")
        found: dict[str, Digest] = {}
        for row in self.rows_.values():
            place = key_hash(row.table, row.key)
            share = row_hash(row.table, row.key, row.version, row.changed_in, salt)
            for prefix in prefixes:
                if place.startswith(prefix):
                    child = place[: len(prefix) + 1]
                    found[child] = found.get(child, Digest()).plus(share)
        return found

    async def rows(
        self, scope: Scope, prefixes: Sequence[str], keys_only: bool = False
    ) -> tuple[int, tuple[SyncedRow, ...]]:
        await self._called("rows")
        wanted = tuple(prefixes)
        return self.xid, tuple(
            row for row in self.rows_.values() if key_hash(row.table, row.key).startswith(wanted)
        )


class Peer:
    """One socket of a listener, seen from the server; heartbeats are answered unless told otherwise."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        assert socket.request is not None
        self.query = {name: value[0] for name, value in parse_qs(urlsplit(socket.request.path).query).items()}
        self.answers_heartbeats = True
        self._beats = asyncio.Semaphore(0)
        self.topic = self.join_ref = ""
        self._frames: asyncio.Queue[list[Any]] = asyncio.Queue()

    async def serve(self) -> None:
        async for frame in self.socket:
            message = json.loads(frame)
            if message[3] == "heartbeat":
                self._beats.release()
                if self.answers_heartbeats:
                    await self.reply(message, "ok", {})
            else:
                self._frames.put_nowait(message)

    async def receive(self) -> list[Any]:
        """The next frame that is no heartbeat: [join_ref, ref, topic, event, payload]."""
        return await asyncio.wait_for(self._frames.get(), LIMIT)

    async def heartbeats(self, count: int) -> None:
        """Wait for so many more."""
        async with asyncio.timeout(LIMIT):
            for _ in range(count):
                await self._beats.acquire()

    async def reply(self, to: list[Any], status: str, response: Any) -> None:
        await self.say(to[0], to[1], to[2], "phx_reply", {"status": status, "response": response})

    async def say(self, *frame: Any) -> None:
        await self.socket.send(json.dumps(frame))

    async def joining(self) -> list[Any]:
        frame = await self.receive()
        assert frame[3] == "phx_join", frame
        self.topic, self.join_ref = frame[2], frame[0]
        return frame

    async def join(self) -> list[Any]:
        """Accept the join and subscribe."""
        frame = await self.joining()
        await self.reply(frame, "ok", {"postgres_changes": []})
        await self.subscribed()
        return frame

    async def subscribed(self) -> None:
        await self.system("Subscribed to PostgreSQL", "ok")

    async def system(self, message: str, status: str = "error", extension: str = "postgres_changes") -> None:
        payload = {"message": message, "status": status, "extension": extension, "channel": "x"}
        await self.say(self.join_ref, None, self.topic, "system", payload)

    async def change(self, payload: dict[str, Any]) -> None:
        await self.say(None, None, self.topic, "postgres_changes", payload)

    async def closed(self) -> int | None:
        """Wait for the end; the close code."""
        await asyncio.wait_for(self.socket.wait_closed(), LIMIT)
        return self.socket.close_code


class Server:
    def __init__(self) -> None:
        self.url = ""
        self.attempts = 0
        self.refuse: Callable[[ServerConnection], Response] | None = None
        self._peers: asyncio.Queue[Peer] = asyncio.Queue()

    async def peer(self) -> Peer:
        """The next socket that is opened."""
        return await asyncio.wait_for(self._peers.get(), LIMIT)

    async def _accept(self, socket: ServerConnection) -> None:
        peer = Peer(socket)
        self._peers.put_nowait(peer)
        with suppress(ConnectionClosed):
            await peer.serve()

    def _request(self, socket: ServerConnection, request: Request) -> Response | None:
        self.attempts += 1
        return self.refuse(socket) if self.refuse else None


@asynccontextmanager
async def realtime() -> AsyncIterator[Server]:
    server = Server()
    async with serve(
        server._accept, "127.0.0.1", 0, process_request=server._request, close_timeout=0.2, ping_interval=None
    ) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        server.url = f"http://127.0.0.1:{port}"
        yield server


class Heard:
    """A handler that remembers, and lets a test wait for what it needs."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._changed = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def event(self, wanted: type[Event], count: int = 1) -> Any:
        """The ``count``-th event of this type."""
        await self.until(lambda: len(self.of(wanted)) >= count)
        return self.of(wanted)[count - 1]

    def of(self, wanted: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, wanted)]

    @property
    def versions(self) -> list[tuple[str, int | None, str]]:
        """(key, version, via) of the row changes."""
        changes = [event for event in self.events if isinstance(event, RowChanged)]
        return [(event.change.key, event.change.version, event.via) for event in changes]


async def reaches(listener: Listener, *states: State) -> None:
    """Wait until the listener is in one of these states."""
    async with asyncio.timeout(LIMIT):
        await listener._until(lambda: listener.state in states)


def follow(
    server: Server, source: Shelf, heard: Callable[[Event], Awaitable[Any] | Any], **options: Any
) -> Listener:
    settings = {"timing": QUICK, "backoff": (0.01, 0.05), **options}
    return Listener(
        server.url, "key", settings.pop("token", "token"), SCOPE, source, on_event=heard, **settings
    )
