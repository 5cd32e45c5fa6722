"""The Realtime server as :class:`~realtime_toolkit.stack.LocalStack` runs it: sockets, REST endpoints, start, stop."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

from realtime_toolkit.phoenix import Vsn
from realtime_toolkit.stack.front.hosts import admits
from realtime_toolkit.stack.realtime import sockets
from realtime_toolkit.stack.realtime.faults import Faults
from realtime_toolkit.stack.realtime.limits import Limits
from realtime_toolkit.stack.realtime.pace import Pace
from realtime_toolkit.stack.realtime.server import Server
from realtime_toolkit.stack.realtime.sockets import RefusedError, Socket
from realtime_toolkit.stack.realtime.striking import Striker

if TYPE_CHECKING:
    from starlette.routing import BaseRoute
    from websockets.datastructures import Headers

log = logging.getLogger("realtime_toolkit.stack.realtime")


class RealtimeServer:
    """One server for one database. ``api_keys`` maps opaque keys (``sb_…``) to the JWTs they stand for.

    ``hosts`` are further names under which sockets may be asked for; ``None``: any.
    ``on_failure`` is told if a part of it ends that it is nothing without.
    """

    def __init__(
        self,
        *,
        database_url: str,
        jwt_secret: str,
        api_keys: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        pace: Literal["fast", "genuine"] | Pace = "fast",
        faults: Faults | None = None,
        hosts: Collection[str] | None = None,
        on_failure: Callable[[str], None] = log.error,
    ) -> None:
        self.faults = faults or Faults()
        self.sockets: set[Socket] = set()
        self._hosts = hosts
        self._api_keys = dict(api_keys or {})
        resolved = pace if isinstance(pace, Pace) else Pace.named(pace)
        self.server = Server(
            database_url, jwt_secret, self._api_keys, limits or Limits(), resolved, self.faults, on_failure
        )
        self._running = False

    async def start(self) -> None:
        """Returns when changes are being read. Raises :class:`psycopg.Error`. Idempotent."""
        if not self._running:
            self._running = True
            self.faults.on_strike(Striker(self.server, self.sockets))
            try:
                await self.server.start()
            except BaseException:
                await self.stop()
                raise
            self.server.keep(self._close_idle(), "watch over idle sockets")

    async def stop(self) -> None:
        """Closes every socket and connection; no slot is left. Idempotent."""
        self._running = False
        for socket in list(self.sockets):
            socket.close(1012)
        await asyncio.sleep(0)
        await self.server.stop()
        for socket in list(self.sockets):
            socket.abort()

    @property
    def websocket_protocol(self) -> type[asyncio.Protocol]:
        """For ``uvicorn.Config(ws=…)``: makes a protocol for every upgrade request."""
        return cast("type[asyncio.Protocol]", self._socket)

    def _socket(self, *, server_state: Any = None, **_: Any) -> Socket:
        return Socket(self, None if server_state is None else server_state.connections)

    @property
    def routes(self) -> list[BaseRoute]:
        """Starlette routes, relative to ``/realtime/v1``."""
        from realtime_toolkit.stack.realtime.broadcast_api import routes

        return routes(self.server)

    def configure(self, **changes: Any) -> None:
        """Change limits while running. As on the genuine server, rates start anew, and everybody is sent
        away (1012) when the project is suspended or made private only, or no longer."""
        before = self.server.limits
        self.server.limits = dataclasses.replace(before, **changes)
        self.server.reset_counters()
        after = self.server.limits
        if (before.suspend, before.private_only) != (after.suspend, after.private_only):
            for socket in list(self.sockets):
                if socket.session is not None:
                    socket.session.disconnect()

    def admit(self, path: str, headers: Headers) -> tuple[Vsn, str]:
        """Whether an upgrade request may come in. Raises :class:`RefusedError`."""
        server = self.server
        if self._hosts is not None and not admits(headers.get_all("host"), self._hosts):
            raise RefusedError(421, "This host name is not one of the stack's")
        if self.faults.armed and (fault := self.faults.strike("refuse")):
            raise RefusedError(int(fault.number), "Token has expired" if fault.number == 401 else "refused")
        admitted = sockets.admit(
            path, headers, jwt_secret=server.jwt_secret, api_keys=self._api_keys, now=time.time()
        )
        if server.limits.suspend:
            raise RefusedError(403, "Realtime was disabled for this tenant")
        if len(server.users) >= server.limits.max_concurrent_users:
            raise RefusedError(429, "Too many connected users")
        if server.joins.sample(server.clock()):
            raise RefusedError(429, "Too many joins per second")
        return admitted

    async def _close_idle(self) -> None:
        while True:
            limit = self.server.limits.idle_timeout
            await asyncio.sleep(limit / 10)
            now = time.monotonic()
            for socket in list(self.sockets):
                if socket.is_idle(now, limit):
                    socket.expire()
