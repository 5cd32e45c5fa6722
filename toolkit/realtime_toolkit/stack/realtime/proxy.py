"""A TCP proxy that can be cut: the network between a real client and a real server, at its worst."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

from realtime_toolkit.tasks import end

if TYPE_CHECKING:
    from types import TracebackType

_CHUNK = 1 << 16
_Link = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class TcpProxy:
    """Listens on 127.0.0.1 and passes bytes to ``(host, port)`` until told otherwise.

    :meth:`cut` resets every connection that is open; :meth:`freeze` keeps them open and passes nothing
    (a half-open link); ``refusing`` closes new connections at once.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._pipes: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._asking = asyncio.Event()
        self._answering = asyncio.Event()
        self.thaw()
        self._server: asyncio.Server | None = None
        self.refusing = False
        self.cuts = 0
        """How many times :meth:`cut` found an open connection."""

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def connected(self) -> bool:
        return bool(self._writers)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in list(self._pipes):
            task.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    def cut(self) -> bool:
        """Reset every open connection, as a lost radio link does; says whether there was any."""
        open_now = list(self._writers)
        for writer in open_now:
            writer.transport.abort()
        self._writers.clear()
        self.cuts += bool(open_now)
        return bool(open_now)

    def freeze(self, *, answers_only: bool = False) -> None:
        """Pass no more bytes (``answers_only``: from the server to the client), and close nothing."""
        self._answering.clear()
        if not answers_only:
            self._asking.clear()

    def thaw(self) -> None:
        self._asking.set()
        self._answering.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pipes.add(task)
        try:
            if self.refusing:
                return
            upstream_reader, upstream_writer = await asyncio.open_connection(*self._target)
            self._writers |= {writer, upstream_writer}
            try:
                await self._both_ways((reader, writer), (upstream_reader, upstream_writer))
            finally:
                self._writers -= {writer, upstream_writer}
                upstream_writer.transport.abort()
        except (OSError, asyncio.CancelledError):
            pass  # a cut is what this class is for
        finally:
            self._pipes.discard(task)
            writer.transport.abort()

    async def _both_ways(self, client: _Link, server: _Link) -> None:
        """Until both have said all, or one is broken. No task group: see :mod:`realtime_toolkit.tasks`."""
        pumps = [
            asyncio.create_task(self._pump(client[0], server[1], self._asking)),
            asyncio.create_task(self._pump(server[0], client[1], self._answering)),
        ]
        try:
            await asyncio.gather(*pumps)
        finally:
            await end(pumps)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flowing: asyncio.Event
    ) -> None:
        while data := await reader.read(_CHUNK):
            await flowing.wait()
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()
