"""A pooler in transaction mode: every transaction goes to whichever server session is free."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator

STARTUP = 196608  # protocol 3.0; what else comes first is a request for encryption


class TransactionPooler:
    """Sessions are opened and authenticated by psycopg; then their sockets are spoken to directly."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._sessions: list[psycopg.Connection] = []
        self._sockets: list[socket.socket] = []
        self._free: list[socket.socket] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))

    @property
    def dsn(self) -> str:
        port = self._listener.getsockname()[1]
        return psycopg.conninfo.make_conninfo(self._dsn, host="127.0.0.1", port=port, sslmode="prefer")

    def serve(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._client, args=(client,), daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for server in self._sockets:
            server.close()
        for session in self._sessions:
            session.close()

    def _client(self, client: socket.socket) -> None:
        server: socket.socket | None = None
        with client, suppress(OSError):
            self._greet(client)
            while True:
                kind, message = _receive(client)
                if kind == b"X":
                    return
                server = server or self._take()
                server.sendall(message)
                if kind in b"QS" and self._answer(server, client) == b"I":
                    self._give_back(server)
                    server = None

    def _greet(self, client: socket.socket) -> None:
        while _startup(client) != STARTUP:
            client.sendall(b"N")  # no TLS here
        settings = {"server_version": "16.0", "client_encoding": "UTF8", "standard_conforming_strings": "on"}
        hello = _message(b"R", struct.pack("!i", 0))
        for name, value in settings.items():
            hello += _message(b"S", f"{name}\0{value}\0".encode())
        client.sendall(hello + _message(b"K", struct.pack("!ii", 1, 1)) + _message(b"Z", b"I"))

    def _take(self) -> socket.socket:
        with self._lock:
            if self._free:
                return self._free.pop()
            session = psycopg.connect(self._dsn, autocommit=True, sslmode="disable")
            self._sessions.append(session)
            server = socket.socket(fileno=socket.dup(session.fileno()))
            server.setblocking(True)
            self._sockets.append(server)
            return server

    def _give_back(self, server: socket.socket) -> None:
        with self._lock:
            self._free.append(server)

    def _answer(self, server: socket.socket, client: socket.socket) -> bytes:
        while True:
            kind, message = _receive(server)
            client.sendall(message)
            if kind == b"Z":
                return message[5:6]


def _startup(client: socket.socket) -> int:
    (size,) = struct.unpack("!i", _exactly(client, 4))
    return int(struct.unpack("!i", _exactly(client, size - 4)[:4])[0])


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def _receive(sock: socket.socket) -> tuple[bytes, bytes]:
    head = _exactly(sock, 5)
    return head[:1], head + _exactly(sock, struct.unpack("!i", head[1:])[0] - 4)


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise ConnectionError
        data += more
    return data


@contextmanager
def transaction_pooler(dsn: str) -> Iterator[str]:
    pooler = TransactionPooler(dsn)
    threading.Thread(target=pooler.serve, daemon=True).start()
    try:
        yield pooler.dsn
    finally:
        pooler.close()
