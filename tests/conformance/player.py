"""Plays a recording's requests against a server and collects what it answers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import psycopg
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from realtime_toolkit.phoenix import Vsn
from tests.conformance.recording import CUT, Recording, comparable, uncut, with_tokens

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 5.0
"""Seconds to wait for what must come."""
HURRY = 0.05
"""Pauses are made this much shorter …"""
LONGEST = 0.05
"""… and at most this long, in seconds, but where time is what the recording is about."""
QUIET = 0.1
"""Seconds in which nothing more may come at the end."""


ANOTHER_TENANT = "Tenant not found"
"""Answer to another host name: a local stack is one tenant, under any name."""


class Conversation:
    """One connection: frames received so far, by topic, in order."""

    def __init__(self, socket: ClientConnection, vsn: Vsn, said: str, changed: asyncio.Condition) -> None:
        self.socket = socket
        self.frames: dict[str, list[Any]] = defaultdict(list)
        self.closed: tuple[int, str] | None = None
        self._vsn, self._said, self._changed = vsn, said, changed
        self.reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            while True:
                topic, frame = comparable(await self.socket.recv(), self._vsn, self._said)
                self.frames[topic].append(frame)
                async with self._changed:
                    self._changed.notify_all()
        except ConnectionClosed as error:
            received = error.rcvd
            self.closed = (received.code, received.reason) if received else (1006, "")
            async with self._changed:
                self._changed.notify_all()


class Player:
    """``base`` is the server's HTTP address; ``configure`` changes limits; ``dsn`` is for SQL as postgres.

    ``keep_time`` plays everything at its time, times that; otherwise pauses are cut to ``longest``. ``tell_time`` is
    told the recording's own time, in seconds, before each step.
    """

    def __init__(
        self,
        recording: Recording,
        base: str,
        dsn: str,
        secret: str,
        configure: Callable[..., None],
        *,
        keep_time: float | None = None,
        longest: float = LONGEST,
        tell_time: Callable[[float], None] = lambda seconds: None,
        races: bool = False,
    ) -> None:
        self._races = races
        self._longest = longest
        self._tell_time = tell_time
        self._keep_time = keep_time
        self.recording = recording
        self.differences: list[str] = []
        self._base, self._dsn, self._secret, self._configure = base, dsn, secret, configure
        self._said = recording.said
        self._changed = asyncio.Condition()
        self._conversations: dict[str, Conversation] = {}
        self._vsn: dict[str, Vsn] = {}
        self._expected: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
        self._pending: dict[str, dict[str, Any]] = {}

    async def play(self) -> list[str]:
        """Differences between what came and what was recorded; none is right."""
        async with await psycopg.AsyncConnection.connect(self._dsn, autocommit=True) as database:
            self._database = database
            clock, began = 0.0, time.monotonic()
            for step in self.recording.steps:
                if self._keep_time is not None:
                    await asyncio.sleep(began + step["t_ms"] / 1000 * self._keep_time - time.monotonic())
                elif step["dir"] not in ("recv", "opened"):
                    await asyncio.sleep(min((step["t_ms"] - clock) / 1000 * HURRY, self._longest))
                clock = max(clock, step["t_ms"])
                self._tell_time(clock / 1000)
                await self._step(step)
        await asyncio.sleep(QUIET)
        await self._finish()
        return self.differences

    async def _step(self, step: dict[str, Any]) -> None:
        kind = step["dir"]
        handler = getattr(self, f"_on_{kind}", None)
        if handler is None:
            raise AssertionError(f"unknown kind of step: {step}")
        if kind not in ("recv", "opened", "closed"):
            await self._catch_up()
        await handler(step)

    # --- what the client does ---------------------------------------------------------------------

    async def _on_open(self, step: dict[str, Any]) -> None:
        url = with_tokens(step["url"], self._secret)
        parts = urlsplit(url)
        path = parts.path.replace("/socket/", "/realtime/v1/")
        headers = {k: with_tokens(v, self._secret) for k, v in step.get("headers", {}).items()}
        target = f"{self._base.replace('http', 'ws')}{path}?{parts.query}"
        vsn = Vsn.V2 if "vsn=2.0.0" in url else Vsn.V1
        self._vsn[step["conn"]] = vsn
        try:
            socket = await connect(
                target, additional_headers=headers, max_size=None, compression=None, ping_interval=None
            )
        except InvalidStatus as error:
            self._pending[step["conn"]] = {
                "status": error.response.status_code,
                "body": (error.response.body or b"").decode(),
                "headers": error.response.headers,
            }
            return
        self._conversations[step["conn"]] = Conversation(socket, vsn, self._said, self._changed)

    async def _on_opened(self, step: dict[str, Any]) -> None:
        if step["conn"] not in self._conversations:
            self._differ(f"{step['conn']}: refused with {self._pending.get(step['conn'])}")

    async def _on_send(self, step: dict[str, Any]) -> None:
        conversation = self._conversations.get(step["conn"])
        if conversation is None:
            return
        frame = step["frame"]
        if isinstance(frame, dict):
            data: str | bytes = base64.b64decode(frame["b64"])
        else:
            whole = uncut(frame, step["len"]) if CUT in frame else frame
            data = with_tokens(whole, self._secret)
        with contextlib.suppress(ConnectionClosed):
            await conversation.socket.send(data)

    async def _on_sql(self, step: dict[str, Any]) -> None:
        with contextlib.suppress(psycopg.Error):
            await self._database.execute(step["sql"].encode())

    async def _on_http(self, step: dict[str, Any]) -> None:
        if "method" not in step:
            await self._refused(step)
            return
        if ANOTHER_TENANT in step["resp"]:
            return
        headers = {name: with_tokens(value, self._secret) for name, value in step["headers"].items()}
        body = step["body"]
        content = base64.b64decode(body["b64"]) if isinstance(body, dict) else (body or "").encode()
        if content.endswith(CUT.encode()):  # too large to be kept
            content = content.removesuffix(CUT.encode()) + b"y" * 3_200_000 + b'"}}]}'
        path = "/realtime/v1" + with_tokens(step["path"], self._secret).replace("/socket/", "/")
        async with httpx.AsyncClient() as client:
            request = client.build_request(
                step["method"], self._base + path, headers=headers, content=content
            )
            del request.headers["connection"]
            answer = await client.send(request)
        got, wanted = (answer.status_code, answer.text), (step["status"], step["resp"])
        if got != wanted:
            self._differ(f"{step['method']} {step['path']} {body}: {got}, recorded {wanted}")

    async def _refused(self, step: dict[str, Any]) -> None:
        got = self._pending.get(step["conn"])
        if ANOTHER_TENANT in step["body"]:
            await self._conversations.pop(step["conn"]).socket.close()
        elif got is None or (got["status"], got["body"]) != (step["status"], step["body"]):
            self._differ(f"{step['conn']}: {got}, recorded {step['status']} {step['body']}")

    async def _on_note(self, step: dict[str, Any]) -> None:
        text = step["text"]
        if text.startswith("tenant settings changed"):
            self._configure(**json.loads(text.partition("API: ")[2].partition(" (HTTP")[0]))
        elif text == "websocket ping":
            await asyncio.wait_for(await self._conversations["a"].socket.ping(), PATIENCE)
        elif text.endswith("TCP connection aborted"):
            self._conversations[text[0]].socket.transport.abort()
        elif "closes with code 1000" in text:
            await self._conversations[text[0]].socket.close()

    # --- what the server does ---------------------------------------------------------------------

    async def _on_recv(self, step: dict[str, Any]) -> None:
        frame = step["frame"]
        if isinstance(frame, str) and CUT in frame:
            frame = uncut(frame, step["len"])
        topic, expected = comparable(frame, self._vsn[step["conn"]], self._said)
        self._expected[step["conn"]][topic].append(expected)

    async def _on_closed(self, step: dict[str, Any]) -> None:
        conversation = self._conversations.get(step["conn"])
        if conversation is None:
            return
        await self._catch_up()
        if step["by"] == "client":
            if step["code"] == 1000:
                await conversation.socket.close()
            return
        await self._until(lambda: conversation.closed is not None)
        if conversation.closed != (step["code"], step["reason"]):
            self._differ(f"{step['conn']}: closed {conversation.closed}, recorded {step['code']}")

    async def _catch_up(self) -> None:
        """Wait until all that was recorded so far has come."""
        await self._until(self._caught_up)

    def _caught_up(self) -> bool:
        return all(
            conn not in self._conversations
            or len(self._conversations[conn].frames[topic]) >= len(frames)
            or self._conversations[conn].closed is not None
            for conn, topics in self._expected.items()
            for topic, frames in topics.items()
        )

    async def _until(self, true: Callable[[], bool]) -> None:
        async with self._changed:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(
                    self._changed.wait_for(true), 0.3 if self.differences or self._races else PATIENCE
                )
        if not true() and not self._races:
            self._differ("something that was recorded did not come")

    async def _finish(self) -> None:
        for conn, conversation in self._conversations.items():
            await conversation.socket.close()
            await conversation.reader
            for topic in {*conversation.frames, *self._expected[conn]}:
                self._compare(conn, topic, conversation.frames[topic], self._expected[conn][topic])

    def _compare(self, conn: str, topic: str, got: list[Any], wanted: list[Any]) -> None:
        if sorted(map(str, got)) == sorted(map(str, wanted)) and _order(got) == _order(wanted):
            return
        if self.recording.thinned and _within(wanted, got):
            return
        if self._races and _without_diffs(got) == _without_diffs(wanted):
            return
        lines = [f"{conn} {topic}: {len(got)} frames, recorded {len(wanted)}"]
        for index in range(max(len(got), len(wanted))):
            left = got[index] if index < len(got) else None
            right = wanted[index] if index < len(wanted) else None
            if left != right:
                lines.append(f"  [{index}] got      {left}\n       recorded {right}")
        self._differ("\n".join(lines))

    def _differ(self, text: str) -> None:
        self.differences.append(text)


def _without_diffs(frames: list[Any]) -> list[str]:
    return sorted(str(frame) for frame in frames if '"presence_diff", {"joins": {"' not in str(frame))


def _within(part: list[Any], whole: list[Any]) -> bool:
    """Whether all of ``part`` is in ``whole``, in order."""
    rest = iter(whole)
    return all(any(frame == other for other in rest) for frame in part)


def _order(frames: list[Any]) -> list[Any]:
    """Frames whose order matters: presence comes when it comes."""
    return [frame for frame in frames if "presence_" not in str(frame)]
