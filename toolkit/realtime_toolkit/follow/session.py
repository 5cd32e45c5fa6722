"""One life of a listener's socket: connect, join, heartbeats, token, frames, until something ends it.

A session ends by raising the error that ended it; whether there is to be another is for the listener.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from msgspec import Raw
from websockets.asyncio.client import connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    InvalidURI,
    WebSocketException,
)

from realtime_toolkit import phoenix
from realtime_toolkit.errors import ConfigError, ProtocolError, ToolkitError, Unauthorized, Unreachable
from realtime_toolkit.follow.subscription import read_system, refusal
from realtime_toolkit.phoenix import Message, Vsn
from realtime_toolkit.retry import backoff
from realtime_toolkit.tasks import Deadline, happens, race
from realtime_toolkit.tokens import renew_after

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from websockets.asyncio.client import ClientConnection

    from realtime_toolkit.tokens import TokenSource

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds. The defaults fit hosted Supabase."""

    connect: float = 10.0
    join: float = 15.0
    """A refused join is answered after 5."""
    subscribe: float = 20.0
    """From the join's reply to ``Subscribed to PostgreSQL``: 3 on a cold server, 15 if its database is down."""
    heartbeat: float = 25.0
    """The server closes after 60 without a frame."""
    reply: float = 5.0
    """A heartbeat that is not answered within this, while nothing else comes, is a dead link."""
    refresh: float = 60.0
    """How long before its expiry a token is replaced."""
    close: float = 2.0
    lived: float = 10.0
    """A session that was subscribed for this long was a good one: the next pause is short again."""
    check: float | None = None
    """Between two comparisons with the database, ± 10 %: what bounds an unnoticed loss. ``None``: as often as they cost
    at most 1 % of one core of the database, but not more often than every 2 s nor less often than every 60."""
    behind: float = 0.8
    """How long the stream is given for what a comparison shows: a genuine server polls every half second."""
    token: float = 10.0
    """How long a token callback may take."""
    answer: float = 60.0
    """How long the source may take for an answer."""
    hole: float = 0.5
    """How long a missing piece of text is waited for."""
    refetch: float = 1.0
    """Pause before a question that failed is asked again; doubles up to 30."""


@dataclass(frozen=True, slots=True)
class Ears:
    """Whom a session tells what it hears, in the session's own order."""

    keep: Callable[[], Awaitable[None]]
    """Runs from the first ``Subscribed to PostgreSQL`` to the end; raises what is to end the session."""
    subscribed: Callable[[], None]
    changes: Callable[[bytes], None]
    """The JSON of a ``postgres_changes`` payload."""
    unreadable: Callable[[Exception], None]


def socket_address(url: str, apikey: str, vsn: Vsn) -> str:
    """The websocket of a project: ``https://x.supabase.co`` → ``wss://x.supabase.co/realtime/v1/websocket?…``.

    An address that is ``ws(s)://`` already is a Realtime server's own; raises :class:`ConfigError`.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "ws", "wss") or not parts.netloc:
        raise ConfigError(f"not an address of a Supabase project: {url!r}")
    path = parts.path.rstrip("/")
    if parts.scheme in ("http", "https"):
        path += "/realtime/v1/websocket"
    query = urlencode([*parse_qsl(parts.query), ("apikey", apikey), ("vsn", vsn)])
    scheme = "wss" if parts.scheme in ("https", "wss") else "ws"
    return urlunsplit((scheme, parts.netloc, path, query, ""))


def _said(body: bytes | None) -> str:
    """What a refusal says in JSON; a gateway's HTML page tells nobody anything."""
    with contextlib.suppress(ValueError, RecursionError, AttributeError):
        said = json.loads(body or b"")
        return str(said.get("error") or said.get("message") or "")[:200]
    return ""


class Session:
    """One socket with one channel."""

    def __init__(
        self,
        url: str,
        apikey: str,
        tokens: TokenSource,
        *,
        topic: str,
        timing: Timing,
        vsn: Vsn,
        max_size: int,
    ) -> None:
        self._address = socket_address(url, apikey, vsn)
        self.where = urlsplit(url).netloc
        self._tokens, self._topic, self._timing = tokens, topic, timing
        self._vsn, self._max_size = vsn, max_size
        self._socket: ClientConnection
        self._refs = 0
        self._join_ref = ""
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._subscribed = asyncio.Event()
        self._frames = 0

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Connected inside; leaves and closes in bounded time."""
        try:
            self._socket = await self._connect()
        except (WebSocketException, OSError, TimeoutError) as error:
            raise self._no_connection(error) from error
        try:
            yield
        finally:
            await self._close()

    async def _connect(self) -> ClientConnection:
        return await connect(
            self._address,
            open_timeout=self._timing.connect,
            close_timeout=self._timing.close,
            max_size=self._max_size,
            ping_interval=None,  # the channel's heartbeat tells more: it has gone through the server
            compression=None,
            logger=log,
        )

    def _no_connection(self, error: Exception) -> ToolkitError:
        if isinstance(error, InvalidURI):
            return ConfigError(f"not an address of a Supabase project: {self.where}")
        if not isinstance(error, InvalidStatus):
            detail = str(error) or type(error).__name__
            not_http = isinstance(error, InvalidHandshake) and not isinstance(error.__cause__, EOFError)
            kind = "answers, but not as Realtime" if not_http else "cannot be reached"
            return Unreachable(f"{self.where} {kind}: {detail}")
        status = error.response.status_code
        line = f"{self.where} refuses the connection: HTTP {status} {_said(error.response.body)}".rstrip()
        return Unauthorized(line) if status in (401, 403) else Unreachable(line)

    async def _close(self) -> None:
        with contextlib.suppress(WebSocketException, OSError, TimeoutError):
            async with Deadline(self._timing.close):
                if self._join_ref:
                    await self._send(phoenix.leave(self._topic, self._ref(), self._join_ref))
                await self._socket.close()
        self._socket.transport.abort()

    async def run(self, config: Mapping[str, Any], token: str | None, ears: Ears) -> None:
        """Join with this config and go on until the session ends; raises why. Never returns normally."""
        await race([self._read(ears), self._live(config, token, ears)])
        raise Unreachable(f"the session with {self.where} ended")

    async def _live(self, config: Mapping[str, Any], token: str | None, ears: Ears) -> None:
        await self._join(config, token)
        await race([self._keep(ears), self._heartbeats(), self._refresh(token)])

    # --- sending --------------------------------------------------------------------------------------

    def _ref(self) -> str:
        self._refs += 1
        return str(self._refs)

    async def _send(self, message: Message) -> None:
        try:
            await self._socket.send(phoenix.encode(message, self._vsn))
        except ConnectionClosed as closed:
            raise self._lost(closed) from closed

    async def _ask(self, message: Message) -> asyncio.Future[Any]:
        """Send; the future is the payload of the reply."""
        reply = self._waiting[str(message.ref)] = asyncio.get_running_loop().create_future()
        await self._send(message)
        return reply

    async def _join(self, config: Mapping[str, Any], token: str | None) -> None:
        self._join_ref = self._ref()
        reply = await self._ask(phoenix.join(self._topic, self._join_ref, config, token))
        await asyncio.wait([reply], timeout=self._timing.join)
        if not reply.done():
            raise Unreachable(f"{self.where} did not answer the join for {self._timing.join:g} s")
        answer = reply.result()
        if answer.get("status") != "ok":
            response = answer.get("response")
            reason = str(response.get("reason", response) if isinstance(response, dict) else response)
            raise refusal(f"{self.where} refuses the join: {reason}", reason)

    async def _keep(self, ears: Ears) -> None:
        if not await happens(self._subscribed, self._timing.subscribe):
            raise Unreachable(
                f"{self.where} did not subscribe to the database for {self._timing.subscribe:g} s"
            )
        await ears.keep()

    async def _heartbeats(self) -> None:
        while True:
            await asyncio.sleep(self._timing.heartbeat)
            reply = await self._ask(phoenix.heartbeat(self._ref()))
            # A reply may have to wait behind a burst, so frames that keep coming are a sign of life for a while.
            for _ in range(6):
                frames = self._frames
                await asyncio.wait([reply], timeout=self._timing.reply)
                await asyncio.sleep(0.01)  # if the loop itself was held up, let the reader catch up
                if reply.done() or frames == self._frames:
                    break
            if not reply.done():
                raise Unreachable(f"{self.where} does not answer heartbeats: the link is dead")

    async def _refresh(self, token: str | None) -> None:
        """Replace the token before it expires; when it has, the server ends the channel."""
        while (pause := renew_after(token, time.time(), self._timing.refresh)) is not None:
            await asyncio.sleep(pause)
            fresh = await self._fresh()
            if fresh and fresh != token:
                await self._send(phoenix.access_token(self._topic, self._ref(), self._join_ref, fresh))
            token = fresh
        await asyncio.Event().wait()  # it has no end

    async def _fresh(self) -> str | None:
        """The next token, asked for until it is had; if that is too late, the server ends the channel."""
        for tries, pause in enumerate(backoff(2.0, 30.0)):
            try:
                return await self._tokens.current()
            except ToolkitError as error:
                log.log(logging.INFO if tries else logging.WARNING, "%s", error)  # one line an outage
            await asyncio.sleep(pause)
        raise AssertionError("backoff() has no end")

    # --- receiving ------------------------------------------------------------------------------------

    async def _read(self, ears: Ears) -> None:
        try:
            async for frame in self._socket:
                self._frames += 1
                self._take(frame, ears)
                if self._frames % 64 == 0:
                    await asyncio.sleep(0)  # a burst must not hold up heartbeats and handlers
        except ConnectionClosed as closed:
            raise self._lost(closed) from closed
        raise Unreachable(f"{self.where} closed the connection")

    def _lost(self, closed: ConnectionClosed) -> Unreachable:
        frame = closed.rcvd
        how = f"closed with {frame.code} {frame.reason}".rstrip() if frame else "lost"
        return Unreachable(f"connection to {self.where} {how}")

    def _take(self, frame: str | bytes, ears: Ears) -> None:
        try:
            message = phoenix.open_frame(frame, self._vsn)
            if message.event == "postgres_changes" and isinstance(message.payload, Raw):
                if message.topic == self._topic:
                    ears.changes(bytes(message.payload))
            else:
                self._dispatch(phoenix.opened(message), ears)
        except ProtocolError as error:
            ears.unreadable(error)
        except ToolkitError:
            raise
        except Exception as error:
            log.exception("%s: a frame could not be taken in", self._topic)
            ears.unreadable(error)

    def _dispatch(self, message: Message, ears: Ears) -> None:
        match message.event:
            case "phx_reply":
                self._replied(message)
            case "system" if message.topic == self._topic:
                self._system(message.payload, ears)
            case "phx_close" | "phx_error" if message.topic == self._topic and self._is_ours(message):
                raise Unreachable(f"{self.where} ended the channel ({message.event})")

    def _replied(self, message: Message) -> None:
        reply = self._waiting.pop(str(message.ref), None)
        if reply is not None and not reply.done():
            reply.set_result(message.payload if isinstance(message.payload, dict) else {})

    def _system(self, payload: Any, ears: Ears) -> None:
        said = read_system(payload)
        if said.failure is not None:
            raise said.failure
        if said.subscribed:
            self._subscribed.set()
            ears.subscribed()

    def _is_ours(self, message: Message) -> bool:
        """Not the end of an earlier join of the same topic."""
        refs = {str(ref) for ref in (message.join_ref, message.ref) if ref is not None}
        return not refs or self._join_ref in refs
