"""Connections of the Realtime server to its database: opened when needed, opened again when lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Any

import psycopg

from realtime_toolkit.wal.reader import SESSION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Connection = psycopg.AsyncConnection[Any]


class Link:
    """One connection, used by one task at a time."""

    def __init__(self, dsn: str, name: str) -> None:
        self._dsn = dsn
        self._name = name
        self._lock = asyncio.Lock()
        self._connection: Connection | None = None
        self.losses = 0
        """How often the other side has ended the connection, as far as it was noticed."""

    @contextlib.asynccontextmanager
    async def use(self) -> AsyncIterator[Connection]:
        """The connection; raises :class:`psycopg.OperationalError` where the database is out of reach."""
        async with self._lock:
            connection = await self._open()
            try:
                yield connection
            except BaseException:
                await self._repair(connection)
                raise

    async def _open(self) -> Connection:
        if self._connection is not None and _is_lost(self._connection):
            self.losses += 1
            self._connection = None
        if self._connection is None:
            self._connection = await psycopg.AsyncConnection.connect(
                self._dsn,
                autocommit=True,
                prepare_threshold=None,
                connect_timeout=5,
                application_name=self._name,
                options=SESSION,
            )
        return self._connection

    async def _repair(self, connection: Connection) -> None:
        """After an error or a cancelled query the connection may be in no state to go on."""
        if connection.closed or connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            self.losses += connection.closed
            self._connection = None
            await connection.close()

    def lose(self) -> None:
        """Cut the connection as an outage would (for faults)."""
        if self._connection is not None and not self._connection.closed:
            with (
                socket.socket(fileno=os.dup(self._connection.fileno())) as ours,
                contextlib.suppress(OSError),
            ):
                ours.shutdown(socket.SHUT_RDWR)

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def _is_lost(connection: Connection) -> bool:
    """Whether the server has ended the connection since it was last used: tells without a round trip."""
    try:
        for _ in range(2):  # its last words, and the end of the stream
            connection.pgconn.consume_input()
    except psycopg.OperationalError:
        return True
    return connection.closed
