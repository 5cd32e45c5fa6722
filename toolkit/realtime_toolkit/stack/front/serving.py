"""The stack's front door: uvicorn in the caller's loop, and no waiting for requests that stop half-way."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from starlette.types import ASGIApp

PATIENCE = 15.0
"""Seconds for a request's headers to come whole, and from one piece of its body to the next."""
_HEADERS_MAX = 1 << 17
_TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class _Impatient(HttpToolsProtocol):
    """Ends a connection whose request, or request for a websocket, stops half-way. uvicorn would wait for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begun = self._heard = self.loop.time()
        self._incoming, self._headers_whole, self._size = True, False, 0
        self._watch = self.loop.call_later(PATIENCE, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._heard = self.loop.time()
        super().data_received(data)
        if not self._headers_whole:
            self._size += len(data)
            if self._size > _HEADERS_MAX:
                self._give_up(_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self._incoming:
            self._begun = self._heard
            self._incoming, self._headers_whole, self._size = True, False, 0

    def on_headers_complete(self) -> None:
        self._headers_whole = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._incoming = False
        super().on_message_complete()

    def _look(self) -> None:
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return  # it has become a websocket
        now = self.loop.time()
        waits = self._incoming and not self.flow.read_paused  # else it is we who do not read
        due = (self._heard if self._headers_whole else self._begun) + PATIENCE
        if waits and due <= now:
            self._give_up(_TIMED_OUT)
        else:
            self._watch = self.loop.call_at(due if waits else now + PATIENCE, self._look)

    def _give_up(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            if not self._headers_whole or not self.cycle.response_started:
                self.transport.write(answer)
            self.transport.close()


class FrontServer(uvicorn.Server):
    """Runs in the caller's loop, and says when it is up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the program that the stack runs in."""
        yield


def front_server(app: ASGIApp, websockets: type[asyncio.Protocol]) -> FrontServer:
    """``app`` for requests, a ``websockets`` for each that asks for one; ``await serve([socket])`` runs it."""
    options: dict[str, Any] = {"lifespan": "off", "log_config": None, "access_log": False}
    config = uvicorn.Config(
        app, http=_Impatient, ws=websockets, server_header=False, timeout_graceful_shutdown=1, **options
    )
    return FrontServer(config)
