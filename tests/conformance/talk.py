"""A client below the stock ones: frames out, messages in, nothing in between."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING, Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from realtime_toolkit import phoenix
from realtime_toolkit.phoenix import Message, Vsn
from realtime_toolkit.settings import mint_token
from tests.conformance.harness import SECRET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.conformance.harness import Served

SUBSCRIBED = "Subscribed to PostgreSQL"


def address(served: Served, vsn: Vsn = Vsn.V2) -> str:
    anon = mint_token(SECRET, None, role="anon")
    return f"{served.base.replace('http', 'ws')}/realtime/v1/websocket?apikey={anon}&vsn={vsn}"


class Talk:
    """One socket; ``messages`` is all that has come."""

    def __init__(self, socket: ClientConnection, vsn: Vsn) -> None:
        self.socket = socket
        self.messages: list[Message] = []
        self.closed: int | None = None
        self._vsn = vsn
        self._refs = itertools.count(1)
        self._changed = asyncio.Event()
        self._joined: dict[str, str] = {}
        self.reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            while True:
                self.messages.append(phoenix.decode(await self.socket.recv(), self._vsn))
                self._changed.set()
        except ConnectionClosed as error:
            self.closed = error.rcvd.code if error.rcvd else 1006
            self._changed.set()

    async def until(self, true: Callable[[], Any], seconds: float = 5.0) -> None:
        async with asyncio.timeout(seconds):
            while not true():
                self._changed.clear()
                await self._changed.wait()

    # --- out --------------------------------------------------------------------------------------

    async def send(self, message: Message) -> str:
        await self.socket.send(phoenix.encode(message, self._vsn))
        return str(message.ref)

    async def push(self, topic: str, event: str, payload: Any) -> str:
        return await self.send(Message(topic, event, payload, str(next(self._refs)), self._joined.get(topic)))

    async def start_join(self, topic: str, token: str | None = None, **config: Any) -> str:
        ref = str(next(self._refs))
        self._joined[topic] = ref
        return await self.send(phoenix.join(topic, ref, config, token))

    async def join(self, topic: str, token: str | None = None, **config: Any) -> None:
        ref = await self.start_join(topic, token, **config)
        assert await self.status(ref) == "ok", self.messages[-1]

    async def follow(self, topic: str, table: str, token: str | None = None) -> None:
        """Join for the table's changes, and wait until the database is subscribed."""
        bindings = [{"event": "*", "schema": "public", "table": table}]
        await self.join(topic, token, postgres_changes=bindings)
        await self.until(lambda: SUBSCRIBED in self.system(topic))

    # --- in ---------------------------------------------------------------------------------------

    def reply(self, ref: str) -> Any:
        return next((m.payload for m in self.messages if m.event == "phx_reply" and m.ref == ref), None)

    async def status(self, ref: str, seconds: float = 5.0) -> Any:
        await self.until(lambda: self.reply(ref) is not None, seconds)
        return self.reply(ref)["status"]

    async def beat(self, seconds: float = 5.0) -> None:
        """A heartbeat and its answer: everything before it has been dealt with."""
        ref = str(next(self._refs))
        await self.send(phoenix.heartbeat(ref))
        await self.status(ref, seconds)

    def payloads(self, topic: str, event: str) -> list[Any]:
        return [m.payload for m in self.messages if m.topic == topic and m.event == event]

    def system(self, topic: str) -> list[str]:
        return [payload["message"] for payload in self.payloads(topic, "system")]

    def records(self, topic: str) -> list[int]:
        """Ids of the rows whose changes have come."""
        return [payload["data"]["record"]["id"] for payload in self.payloads(topic, "postgres_changes")]

    def broadcasts(self, topic: str) -> list[Any]:
        return [payload["payload"] for payload in self.payloads(topic, "broadcast")]


@contextlib.asynccontextmanager
async def talk(served: Served, vsn: Vsn = Vsn.V2, **options: Any) -> AsyncIterator[Talk]:
    async with connect(address(served, vsn), compression=None, max_size=None, **options) as socket:
        talking = Talk(socket, vsn)
        try:
            yield talking
        finally:
            await socket.close()
            await talking.reader
