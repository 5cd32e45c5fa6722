"""The websocket itself: an asyncio protocol that uvicorn hands upgrade requests to.

Built on the sans-I/O side of ``websockets``, without a task or a queue per connection: frames are dealt
with as they arrive, and a frame for many clients is made once and written to each transport.
"""

from __future__ import annotations

import asyncio
import http
import json
import logging
import time
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import parse_qs, urlsplit

from websockets.datastructures import Headers
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol

from realtime_toolkit.phoenix import Vsn
from realtime_toolkit.stack.realtime import tokens
from realtime_toolkit.stack.realtime.sessions import Session

if TYPE_CHECKING:
    from realtime_toolkit.stack.realtime.server import Server

log = logging.getLogger("realtime_toolkit.stack.realtime")

PATHS = frozenset({"/realtime/v1/websocket", "/socket/websocket"})
_LINGER = 10.0
"""Seconds that a client has to take what is left, and the close frame, once it is cut off."""


class RefusedError(Exception):
    """The upgrade is refused with this status and body; ``body`` is a text for JSON's ``error``."""

    def __init__(self, status: int, body: str = "") -> None:
        super().__init__(body)
        self.status = status
        self.body = body


class _Protocol(ServerProtocol):
    """Closes for the reasons of the genuine server, and gives none."""

    def fail(self, code: int, reason: str = "") -> None:
        super().fail(code)


class Host(Protocol):
    """What a socket needs of the server that it belongs to."""

    server: Server
    sockets: set[Socket]

    def admit(self, path: str, headers: Headers) -> tuple[Vsn, str]:
        """Raises :class:`RefusedError`."""


class Socket(asyncio.Protocol):
    """Lives from the upgrade request to the end of the connection."""

    def __init__(self, realtime: Host, connections: set[Any] | None) -> None:
        self.session: Session | None = None
        self.last_frame = time.monotonic()
        self._realtime = realtime
        self._connections = connections
        self._transport: asyncio.Transport = None  # type: ignore[assignment]
        self._protocol = _Protocol(max_size=realtime.server.limits.max_frame_bytes, logger=log)
        self._fragments: list[bytes] = []
        self._opcode = Opcode.TEXT
        self._ending = False
        self._frozen = False
        self._deciding: asyncio.Task[None] | None = None

    # --- asyncio.Protocol -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._realtime.sockets.add(self)
        if self._connections is not None:
            self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._frozen:
            return
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._deciding = self._realtime.server.spawn(self._decide(event))
            elif isinstance(event, Frame):
                self._frame(event)
        self._flush()

    def eof_received(self) -> None:
        self._protocol.receive_eof()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ending = True
        self._realtime.sockets.discard(self)
        if self._connections is not None:
            self._connections.discard(self)
        if self._deciding is not None:
            self._deciding.cancel()
        if self.session is not None:
            self.session.end()

    # --- the upgrade ------------------------------------------------------------------------------

    async def _decide(self, request: Request) -> None:
        try:
            vsn, token = self._realtime.admit(request.path, request.headers)
        except RefusedError as refused:
            await self._refuse(refused)
            return
        except Exception:  # never silence: the client would wait for ever
            log.exception("an upgrade request cannot be judged")
            await self._refuse(RefusedError(400, "Bad Request"))
            return
        response = self._protocol.accept(request)
        self._protocol.send_response(response)
        if response.status_code == 101:
            self.last_frame = time.monotonic()
            headers = {
                name.lower(): value for name, value in request.headers.raw_items() if name.lower()[:2] == "x-"
            }
            self.session = Session(self._realtime.server, self, vsn, token, headers)
        self._flush()

    async def _refuse(self, refused: RefusedError) -> None:
        if refused.body:
            await asyncio.sleep(self._realtime.server.pace.refused_socket)
        self._protocol.send_response(_response(refused))
        self._flush()

    # --- frames in --------------------------------------------------------------------------------

    def _frame(self, frame: Frame) -> None:
        self.last_frame = time.monotonic()
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._opcode, self._fragments = frame.opcode, []
        elif frame.opcode is Opcode.CLOSE and self.session is not None:
            self.session.end()
            return
        elif frame.opcode is not Opcode.CONT:
            return  # pings are answered by the protocol
        self._fragments.append(bytes(frame.data))
        if frame.fin and self.session is not None:
            self._message(b"".join(self._fragments), self.session)

    def _message(self, data: bytes, session: Session) -> None:
        if self._opcode is Opcode.BINARY:
            session.receive(data)
            return
        try:
            text = data.decode()
        except UnicodeDecodeError:
            self._protocol.fail(1007)
            return
        session.receive(text)

    # --- frames out -------------------------------------------------------------------------------

    def send_frame(self, data: bytes) -> None:
        """Write frames that are made already; a client that does not keep up is cut off."""
        if self._ending or self._frozen or self._protocol.state is not State.OPEN:
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > self._realtime.server.limits.send_buffer_bytes:
            self.cut_off()

    def cut_off(self) -> None:
        """Part with a client that does not keep up: what it has not taken by then is lost."""
        waiting = self._transport.get_write_buffer_size()
        log.error("SlowConsumer: %d bytes wait for a client that does not read; it is cut off", waiting)
        if self.session is not None:
            self.session.end()
        self.close(1013, "slow consumer")
        asyncio.get_running_loop().call_later(_LINGER, self._transport.abort)

    def close(self, code: int, reason: str = "") -> None:
        """Begin the closing handshake."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)
            self._flush()
            asyncio.get_running_loop().call_later(_LINGER, self._transport.abort)
        elif self._protocol.state is State.CONNECTING:
            self.abort()
        self._ending = True

    def expire(self) -> None:
        """Nothing has come for too long: part, at once if there is no conversation (yet, or any more)."""
        if self._protocol.state is State.OPEN:
            self.close(1000)
        else:
            self.abort()

    def freeze(self) -> None:
        """Neither read nor write any more, and leave the connection open."""
        self._frozen = True
        self._transport.pause_reading()
        if self.session is not None:
            self.session.end()

    def is_idle(self, now: float, limit: float) -> bool:
        return not self._frozen and now - self.last_frame > limit

    def abort(self) -> None:
        """End the TCP connection without a word."""
        self._transport.abort()

    def shutdown(self) -> None:
        """uvicorn is going down."""
        self.close(1012)

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._transport.write(data)
            elif self._transport.can_write_eof() and not self._transport.is_closing():
                self._transport.write_eof()
        if self._protocol.close_expected() and self._protocol.state is State.CLOSED:
            self._transport.close()


def read_request(path: str) -> tuple[str, dict[str, str]]:
    """Path and query of a request line; raises :class:`RefusedError` for one that is none."""
    try:
        parts = urlsplit(path)
    except ValueError:
        raise RefusedError(404, "Not Found") from None
    query = parse_qs(parts.query, keep_blank_values=True)
    return parts.path, {name: values[-1] for name, values in query.items()}


def _response(refused: RefusedError) -> Response:
    body, kind = b"", None
    if refused.status == 404 and refused.body == "Not Found":
        body, kind = b"Not Found", "text/html; charset=utf-8"
    elif refused.body:
        body = json.dumps({"error": refused.body}, separators=(",", ":")).encode()
        kind = "application/json; charset=utf-8"
    headers = Headers({"cache-control": "max-age=0, private, must-revalidate"})
    headers["content-length"] = str(len(body))
    if kind is not None:
        headers["content-type"] = kind
    headers["connection"] = "close"
    return Response(refused.status, http.HTTPStatus(refused.status).phrase, headers, body)


def admit(path: str, headers: Headers, *, jwt_secret: str, api_keys: Any, now: float) -> tuple[Vsn, str]:
    """Version and token of an upgrade request that may come in. Raises :class:`RefusedError`."""
    location, query = read_request(path)
    if location not in PATHS:
        raise RefusedError(404, "Not Found")
    version = query.get("vsn", "1.0.0")
    if version not in [vsn.value for vsn in Vsn]:
        raise RefusedError(403)
    token = headers.get("x-api-key") or query.get("apikey")
    if token is None:
        raise RefusedError(401, "API key is missing")
    token = api_keys.get(token, token)
    try:
        tokens.verify(token, jwt_secret, now)
    except tokens.TokenError as error:
        raise RefusedError(401, error.connect) from None
    return Vsn(version), token
