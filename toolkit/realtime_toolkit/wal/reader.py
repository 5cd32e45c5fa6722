"""Reads the WAL: a temporary slot, ``pgoutput``, a connection in COPY_BOTH mode, for ever.

Whatever has arrived is handed over as one batch; while the receiver is behind, nothing is read, and the
database waits. A lost connection is made again with a new slot, so what was committed in between is
lost, as it is on the genuine server.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import pq

from realtime_toolkit.errors import ProtocolError
from realtime_toolkit.wal import decoder as wal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

log = logging.getLogger("realtime_toolkit.stack.realtime")

SESSION = (
    "-c datestyle=ISO -c timezone=UTC -c intervalstyle=postgres -c extra_float_digits=1 "
    "-c bytea_output=hex -c xmloption=content"
)
"""How values are written in the WAL stream, and everywhere where they are compared with it."""
_STATUS_EVERY = 10.0
_QUEUE_MAX = 20_000
_BATCH_MAX = 2_000


@dataclass(slots=True)
class Batch:
    """Changes in the order of the WAL, and the position they reach."""

    items: list[wal.RowChange | wal.LogicalMessage] = field(default_factory=list)
    position: int = 0


class ReplicationReader:
    """``await reader.take()`` after ``await reader.connected.wait()``; ``run()`` feeds it.

    ``express`` is shown each item as it arrives; what it says true to has been dealt with and is in no batch.
    """

    def __init__(
        self,
        dsn: str,
        publications: Sequence[str],
        express: Callable[[wal.RowChange | wal.LogicalMessage], bool] = lambda item: False,
    ) -> None:
        self.connected = asyncio.Event()
        self.decoder = wal.Decoder()
        self._dsn = dsn
        self._publications = publications
        self._express = express
        self._queue: list[wal.RowChange | wal.LogicalMessage] = []
        self._arrived = asyncio.Event()
        self._position = 0
        self._done = 0
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._lost: asyncio.Future[None] | None = None
        self._paused = False
        self._watched = -1
        self.gap = 0.0
        """Seconds to stay away after the next loss of the connection (for faults)."""
        self.slot = ""
        """Name of the slot in use, or last used."""

    async def run(self, pause: Callable[[], float], reconnected: Callable[[bool], Awaitable[None]]) -> None:
        """Connect, stream, and again after ``pause()`` seconds. ``reconnected(restarted)`` follows every
        new connection but the first; ``restarted`` says that the database itself had ended."""
        server: tuple[Any, ...] | None = None
        while True:
            try:
                identity = await self._open()
                if server is not None:
                    await reconnected(identity != server)
                server = identity
                await self._stream()
            except (psycopg.Error, ProtocolError, OSError) as error:
                log.error(
                    "ReplicationConnectionLost: %s", " ".join(str(error).split()) or type(error).__name__
                )
            finally:
                await self._close()
            gap, self.gap = self.gap, 0.0
            await asyncio.sleep(gap or pause())

    async def take(self) -> Batch:
        """The next batch: all that has arrived, up to a limit. Waits while there is nothing."""
        while not self._queue:
            self._arrived.clear()
            await self._arrived.wait()
        items, self._queue = self._queue[:_BATCH_MAX], self._queue[_BATCH_MAX:]
        if self._paused and len(self._queue) < _QUEUE_MAX // 2:
            self._resume()
        return Batch(items, self._position)

    def discard(self) -> int:
        """Forget what has arrived and was not taken; how many changes that was."""
        lost, self._queue = len(self._queue), []
        return lost

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def done(self, batch: Batch) -> None:
        """The batch is dealt with: the slot may move on."""
        self._done = max(self._done, batch.position)

    def terminate(self) -> None:
        """Drop the connection as an outage would (for faults)."""
        if self._lost is not None and not self._lost.done():
            self._lost.set_exception(psycopg.OperationalError("terminated by a fault"))

    # --- connection ------------------------------------------------------------------------------

    async def _open(self) -> tuple[Any, ...]:
        connection = await psycopg.AsyncConnection.connect(
            self._dsn,
            autocommit=True,
            replication="database",
            options=SESSION,
            connect_timeout=5,
            application_name="realtime_replication_connection",
        )
        self._connection = connection
        cursor = await connection.execute("IDENTIFY_SYSTEM")
        system = (await cursor.fetchone() or ("",))[:1]
        cursor = await connection.execute("select pg_catalog.pg_postmaster_start_time()::text")
        started = (await cursor.fetchone() or ("",))[:1]
        slot = self.slot = f"toolkit_realtime_{os.getpid()}_{secrets.token_hex(4)}"
        await connection.execute(
            f"CREATE_REPLICATION_SLOT {slot} TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT"
        )
        names = ",".join(f'"{name}"' for name in self._publications)
        options = f"proto_version '1', publication_names '{names}', messages 'true'"
        await self._start(connection.pgconn, f"START_REPLICATION SLOT {slot} LOGICAL 0/0 ({options})")
        return system + started

    async def _start(self, pgconn: Any, command: str) -> None:
        pgconn.send_query(command.encode())
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(pgconn.socket, readable.set)
        try:
            while pgconn.flush() or pgconn.is_busy():
                async with asyncio.timeout(10):
                    await readable.wait()
                readable.clear()
                pgconn.consume_input()
        except TimeoutError:
            raise psycopg.OperationalError("START_REPLICATION is not answered") from None
        finally:
            loop.remove_reader(pgconn.socket)
        result = pgconn.get_result()
        if result.status != pq.ExecStatus.COPY_BOTH:
            raise psycopg.OperationalError(result.error_message.decode(errors="replace").strip())

    async def _stream(self) -> None:
        assert self._connection is not None
        self._lost = asyncio.get_running_loop().create_future()
        self.decoder = wal.Decoder()
        self._paused = False
        self._resume()
        self._readable()  # frames may have come along with the start
        self.connected.set()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STATUS_EVERY):
                    await asyncio.shield(self._lost)
            self._send_status()

    async def _close(self) -> None:
        self.connected.clear()
        self._queue.clear()
        connection, self._connection = self._connection, None
        if connection is not None:
            self._unwatch()
            with contextlib.suppress(psycopg.Error):
                connection.pgconn.finish()
                await connection.close()

    # --- the stream -------------------------------------------------------------------------------

    def _resume(self) -> None:
        if self._connection is not None:
            self._paused = False
            self._watched = self._connection.pgconn.socket
            asyncio.get_running_loop().add_reader(self._watched, self._readable)

    def _unwatch(self) -> None:
        """By the number it had: libpq has closed the socket of a lost connection and no longer tells it."""
        watched, self._watched = self._watched, -1
        if watched >= 0:
            asyncio.get_running_loop().remove_reader(watched)

    def _readable(self) -> None:
        try:
            self._receive()
        except (psycopg.Error, ProtocolError) as error:
            self._unwatch()
            if self._lost is not None and not self._lost.done():
                self._lost.set_exception(error)

    def _receive(self) -> None:
        assert self._connection is not None
        pgconn = self._connection.pgconn
        pgconn.consume_input()
        while True:
            size, data = pgconn.get_copy_data(1)
            if size == 0:
                break
            if size < 0:
                result = pgconn.get_result()
                message = result.error_message.decode(errors="replace").strip() if result else ""
                raise psycopg.OperationalError(message or "the replication stream ended")
            self._frame(bytes(data))
        if self._queue:
            self._arrived.set()
        if len(self._queue) > _QUEUE_MAX and not self._paused:
            self._paused = True
            self._unwatch()

    def _frame(self, data: bytes) -> None:
        frame = wal.decode_frame(data)
        if isinstance(frame, wal.Keepalive):
            if not self._queue:
                self._done = self._position = max(self._position, frame.end)
            if frame.reply_wanted:
                self._send_status()
            return
        event = self.decoder.feed(frame.payload)
        if isinstance(event, wal.Commit):
            self._position = event.end
        elif event is not None and not self._taken(event):
            self._queue.append(event)

    def _taken(self, event: wal.RowChange | wal.LogicalMessage) -> bool:
        try:
            return self._express(event)
        except Exception:  # one row must not end the stream
            log.exception("a row from the WAL cannot be dealt with")
            return True

    def _send_status(self) -> None:
        if self._connection is not None:
            pgconn = self._connection.pgconn
            pgconn.put_copy_data(wal.encode_status(self._done, time.time_ns() // 1000))
            pgconn.flush()
