"""A Realtime server of its own for a test: a database cloned from a template, nothing else of the stack."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import psycopg
import uvicorn
from psycopg import sql
from starlette.applications import Starlette
from starlette.routing import Mount

from realtime_toolkit.stack.realtime.app import RealtimeServer
from realtime_toolkit.stack.realtime.limits import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from realtime_toolkit.stack.realtime.pace import Pace

SECRET = "a secret of at least thirty-two bytes, for tests"
TEMPLATE = "harness_template"


@dataclass
class Served:
    base: str
    dsn: str
    secret: str
    realtime: RealtimeServer

    @property
    def configure(self) -> Callable[..., None]:
        return self.realtime.configure


class Harness:
    """``admin_url`` is of a superuser on a server where databases can be made."""

    def __init__(self, admin_url: str) -> None:
        self.admin_url = admin_url
        self._count = 0

    @contextlib.asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """Address of a fresh database with baseline and schema realtime."""
        self._count += 1
        name = f"harness_{self._count}"
        identifier, template = sql.Identifier(name), sql.Identifier(TEMPLATE)
        await self._admin(sql.SQL("create database {} template {} strategy file_copy"), identifier, template)
        try:
            yield psycopg.conninfo.make_conninfo(self.admin_url, dbname=name)
        finally:
            await self._admin(sql.SQL("drop database {} with (force)"), identifier)

    async def _admin(self, statement: sql.SQL, *names: sql.Identifier) -> None:
        async with await psycopg.AsyncConnection.connect(self.admin_url, autocommit=True) as admin:
            await admin.execute(statement.format(*names))

    @contextlib.asynccontextmanager
    async def server(
        self, schema: str = "", *, pace: Any | Pace = "fast", limits: Limits | None = None, **options: Any
    ) -> AsyncIterator[Served]:
        async with self.database() as dsn:
            async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as database:
                await database.execute("create table public.unrelated (id int primary key)")
                await database.execute("alter publication supabase_realtime add table public.unrelated")
                if schema:
                    await database.execute(schema.encode())
            realtime = RealtimeServer(
                database_url=dsn, jwt_secret=SECRET, limits=limits or replace(Limits()), pace=pace, **options
            )
            await realtime.start()
            try:
                async with serve(realtime) as base:
                    yield Served(base, dsn, SECRET, realtime)
            finally:
                await realtime.stop()


@contextlib.asynccontextmanager
async def serve(realtime: RealtimeServer) -> AsyncIterator[str]:
    """The server behind uvicorn on a port of its own."""
    app = Starlette(routes=[Mount("/realtime/v1", routes=realtime.routes)])
    config = uvicorn.Config(app, log_config=None, ws=realtime.websocket_protocol, lifespan="off")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as the stack does
    await server.startup(sockets=[listening])
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:  # without uvicorn's own loop and shutdown, which wait a tenth of a second each
        for listener in server.servers:
            listener.close()
        for connection in list(server.server_state.connections):
            connection.shutdown()
        listening.close()
