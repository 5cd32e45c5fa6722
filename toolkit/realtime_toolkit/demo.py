"""The main job in five scenarios, each on the real stack, each ending with a reconciliation verdict.

The figures are not what the code believes: ``sent`` is counted from the versions in the database, ``live``,
``recovered`` and ``duplicates`` from what the handlers were called with, ``lost`` from the difference.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg

from realtime_toolkit.events import RowChanged, TextAppended, TextReset
from realtime_toolkit.follow.listener import Listener
from realtime_toolkit.model import Scope, VerdictKind
from realtime_toolkit.prove.reconcile import reconcile
from realtime_toolkit.replica.replica import Replica
from realtime_toolkit.stack.realtime.proxy import TcpProxy
from realtime_toolkit.store import RestStore
from realtime_toolkit.write.agent import paced, stream_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from realtime_toolkit.events import Event
    from realtime_toolkit.stack import LocalStack

RATE = 150.0
"""Tokens per second that the pretended model answers with."""
INTERVAL = 0.05
"""Seconds between two flushes of the updater: short, so that a short demo makes many changes."""
RECOVERY_LIMIT = 30.0
"""Seconds within which a client must be whole again (the design's own target)."""
CUTS = 10
BACKOFF = (0.05, 0.4)
"""First and longest wait before a reconnect, in seconds; the product's default is 1 to 60."""

Version = tuple[str, str, int]
Place = tuple[str, str]

ANSWER = """\
A row that changes is not yet a row that somebody saw. Between the commit and the screen lie a log, a decoder, a
policy, a socket and a phone in a tunnel, and each of them may drop the change without a word. 提交了的更改，不等于
被看到的更改。

So the writer numbers what it writes: every row has a version that grows by exactly one, and every piece of a
streamed answer has a sequence number and the position of its first character. What is dense can be counted, and what
can be counted can be missed. Eine Lücke fällt auf, weil die Zahlen davor und danach da sind.

The reader never believes the silence. After every gap – a cut, a new token, a publication that changed – it asks the
database for everything that moved since the oldest transaction that was still open when it last looked. A clock would
lie here: the time in a row was taken before the commit, and two commits may land in the other order. Горизонт
транзакций не лжёт.

And because asking is not proving, a third party watches both. It writes a mark into the log, reads the truth as the
subscriber may see it, and writes a second mark. When the second mark arrives, everything before it has been sent, and
the two sides must agree: by count, by digest, row by row where they do not. 🔎 A verifier that cannot fail is
worth nothing, so it is shown losses on purpose and has to name each of them.

That is the whole promise. Not that the network is good, but that a subscriber always knows which of four things is
true: live, recovered, resynced, or lost – and that the fourth is said aloud. ✅
"""


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the demo's table; counts are summed over the devices of the scenario."""

    name: str
    sent: int
    live: int
    recovered: int
    lost: int
    duplicates: int
    p50_ms: float | None
    p99_ms: float | None
    verdict: str

    @property
    def ok(self) -> bool:
        return self.verdict == VerdictKind.IN_SYNC


@dataclass(slots=True)
class Tally:
    """Everything one device's handler was called with, over all of its sessions."""

    calls: Counter[Version] = field(default_factory=Counter)
    live: set[Version] = field(default_factory=set)
    latencies: list[float] = field(default_factory=list)
    text: dict[tuple[str, int], str] = field(default_factory=dict)
    repeated_text: int = 0
    finished: dict[str, asyncio.Event] = field(default_factory=dict)

    def on_event(self, event: Event) -> None:
        match event:
            case RowChanged():
                self._row(event)
            case TextAppended():
                self._text(event)
            case TextReset():
                pass

    def _row(self, event: RowChanged) -> None:
        change = event.change
        if change.version is None or change.row is None:
            return
        version = (change.table, change.key, change.version)
        self.calls[version] += 1
        if event.via == "live":
            self.live.add(version)
            written = datetime.fromisoformat(change.row["updated_at"])
            self.latencies.append(time.time() - written.timestamp())
        if change.table == "public.messages" and change.row["status"] == "completed":
            self.done(change.row["id"]).set()

    def _text(self, event: TextAppended) -> None:
        place = (event.message_id, event.attempt)
        so_far = self.text.get(place, "")
        if event.position != len(so_far):
            self.repeated_text += 1
        self.text[place] = so_far + event.text

    def done(self, message_id: str) -> asyncio.Event:
        return self.finished.setdefault(message_id, asyncio.Event())


@dataclass(frozen=True, slots=True)
class Bench:
    """What all scenarios share."""

    stack: LocalStack
    text: str
    seed: int
    progress: Callable[[str, float], None]
    service: RestStore


class Device:
    """A client of one user behind a network of its own that can be cut."""

    def __init__(self, bench: Bench, user: str, scope: Scope, tally: Tally | None = None) -> None:
        self._bench, self._user, self._scope = bench, user, scope
        self.tally = tally or Tally()
        self._exits = AsyncExitStack()
        self.proxy: TcpProxy
        self.store: RestStore
        self.listener: Listener

    async def open(self, stored: dict[str, Any] | None = None) -> Device:
        """Connect and wait until the device is whole; ``stored`` is a cursor from :meth:`close`."""
        stack = self._bench.stack
        address = urlsplit(stack.url)
        assert address.hostname is not None
        assert address.port is not None
        self.proxy = await self._exits.enter_async_context(TcpProxy(address.hostname, address.port))
        self.store = await self._exits.enter_async_context(
            RestStore(stack.url, stack.anon_key, token=lambda: stack.token(self._user))
        )
        self.listener = Listener(
            f"http://127.0.0.1:{self.proxy.port}",
            stack.anon_key,
            lambda: stack.token(self._user),
            self._scope,
            self.store,
            on_event=self.tally.on_event,
            replica=Replica.load(stored) if stored else None,
            backoff=BACKOFF,
        )
        await self._exits.enter_async_context(self.listener)
        await asyncio.wait_for(self.listener.synced(), RECOVERY_LIMIT)
        return self

    async def close(self) -> dict[str, Any]:
        """Disconnect; returns the cursor to come back with."""
        stored = self.listener.replica.dump()
        await self._exits.aclose()
        return stored


class Conversation:
    """One conversation of a fresh user, what the database says of it, and the score of its devices."""

    def __init__(self, bench: Bench, name: str, user: str, scope: Scope) -> None:
        self.bench, self.name, self.user, self.scope = bench, name, user, scope
        self.before: dict[Place, int] = {}

    @classmethod
    async def start(cls, bench: Bench, name: str) -> Conversation:
        user = str(uuid.uuid4())
        row = await bench.service.create_conversation(user_id=user, title=name)
        made = cls(bench, name, user, Scope("conversation", row["id"]))
        made.before = await made.versions()
        return made

    async def versions(self) -> dict[Place, int]:
        """(table, key) → version, read as the database's owner, past the code under test."""
        parts = [
            "select 'public.conversations', jsonb_build_array(id)::text, version from conversations where id = %(id)s",
            *(
                f"select 'public.{table}', jsonb_build_array({key})::text, version from {table}"
                " where conversation_id = %(id)s"
                for table, key in [
                    ("tasks", "id"),
                    ("messages", "id"),
                    ("message_chunks", "message_id, attempt, seq"),
                ]
            ),
        ]
        async with await psycopg.AsyncConnection.connect(self.bench.stack.database_url) as db:
            rows = await db.execute(" union all ".join(parts), {"id": self.scope.value})
            return {(table, key): version async for table, key, version in rows}

    async def answer(self, *, hold: Callable[[], Awaitable[None]] | None = None) -> str:
        """Stream the text as the agent would; returns the message's id."""
        outcome = await stream_text(
            self.bench.service,
            self.scope.value,
            self._tokens(hold),
            interval=INTERVAL,
        )
        return outcome.message_id

    async def _tokens(self, hold: Callable[[], Awaitable[None]] | None) -> AsyncIterator[str]:
        sent = 0
        async for token in paced(self.bench.text, RATE):
            sent += len(token)
            self.bench.progress(self.name, sent / max(len(self.bench.text), 1))
            if hold is not None and sent >= len(self.bench.text):
                await hold()
            yield token

    async def score(self, devices: Sequence[Device], message_id: str, extra: str | None = None) -> Result:
        """Wait until every device has the finished message, reconcile each, and count."""
        verdicts = [await self._settle(device, message_id) for device in devices]
        truth = await self.versions()
        counts = [self._count(device.tally, truth) for device in devices]
        sent, live, recovered, lost, duplicates = (sum(column) for column in zip(*counts, strict=True))
        bad = [verdict for verdict in verdicts if verdict != VerdictKind.IN_SYNC]
        bad += [extra] if extra else []
        bad += [f"{lost} lost"] if lost else []
        bad += [f"{duplicates} twice"] if duplicates else []
        latencies = [latency for device in devices for latency in device.tally.latencies]
        return Result(
            self.name,
            sent,
            live,
            recovered,
            lost,
            duplicates,
            quantile(latencies, 0.50),
            quantile(latencies, 0.99),
            bad[0] if bad else str(VerdictKind.IN_SYNC),
        )

    async def _settle(self, device: Device, message_id: str) -> str:
        try:
            async with asyncio.timeout(RECOVERY_LIMIT):
                await device.tally.done(message_id).wait()
                verdict = await reconcile(device.listener, device.store)
        except TimeoutError:
            return f"not whole after {RECOVERY_LIMIT:.0f} s"
        if not verdict.ok:
            return f"{verdict.kind}: {len(verdict.missing)} missing, {len(verdict.stale)} stale, {len(verdict.extra)} extra"
        texts = {text for (message, _), text in device.tally.text.items() if message == message_id}
        return str(verdict.kind) if texts == {self.bench.text} else "the text differs"

    def _count(self, tally: Tally, truth: dict[Place, int]) -> tuple[int, int, int, int, int]:
        """(sent, live, recovered, lost, duplicates) of one device; versions are dense, so nothing is estimated."""
        sent = live = recovered = lost = 0
        for place, last in truth.items():
            first = self.before.get(place, 0)
            seen = [v for (table, key, v) in tally.calls if (table, key) == place and v > first]
            on_stream = len([v for v in seen if (*place, v) in tally.live])
            reached = max(seen, default=first)
            sent += last - first
            live += on_stream
            recovered += reached - first - on_stream
            lost += last - reached
        return sent, live, recovered, lost, sum(n - 1 for n in tally.calls.values()) + tally.repeated_text


def quantile(seconds: Sequence[float], q: float) -> float | None:
    """Nearest-rank quantile in milliseconds; ``None`` of nothing."""
    if not seconds:
        return None
    ranked = sorted(seconds)
    return round(ranked[min(len(ranked) - 1, int(q * len(ranked)))] * 1000, 2)


async def normal(bench: Bench) -> Result:
    talk = await Conversation.start(bench, "normal")
    device = await Device(bench, talk.user, talk.scope).open()
    try:
        return await talk.score([device], await talk.answer())
    finally:
        await device.close()


async def disconnect(bench: Bench) -> Result:
    """The network is gone for the middle third of the answer."""
    talk = await Conversation.start(bench, "disconnect")
    device = await Device(bench, talk.user, talk.scope).open()
    length = len(bench.text) / 5 / RATE  # about five characters a token
    try:
        answer = asyncio.create_task(talk.answer())
        await asyncio.sleep(length / 3)
        device.proxy.refusing = True
        device.proxy.cut()
        await asyncio.sleep(length / 3)
        device.proxy.refusing = False
        return await talk.score([device], await answer)
    finally:
        await device.close()


async def several_devices(bench: Bench) -> Result:
    """Two devices of one user, and a stranger who asks for the same conversation and gets nothing."""
    talk = await Conversation.start(bench, "several devices")
    phone = await Device(bench, talk.user, talk.scope).open()
    laptop = await Device(bench, talk.user, talk.scope).open()
    stranger = await Device(bench, str(uuid.uuid4()), talk.scope).open()
    try:
        message_id = await talk.answer()
        seen = len(stranger.tally.calls) + len(stranger.tally.text)
        leak = f"the stranger received {seen}" if seen else None
        return await talk.score([phone, laptop], message_id, leak)
    finally:
        for device in (phone, laptop, stranger):
            await device.close()


async def long_task(bench: Bench) -> Result:
    """The client is closed entirely while the task runs, and comes back later from a stored cursor."""
    talk = await Conversation.start(bench, "long task")
    device = await Device(bench, talk.user, talk.scope).open()
    answer = asyncio.create_task(talk.answer())
    await asyncio.sleep(len(bench.text) / 5 / RATE / 4)
    stored = await device.close()
    message_id = await answer
    back = await Device(bench, talk.user, talk.scope, device.tally).open(stored)
    try:
        return await talk.score([back], message_id)
    finally:
        await back.close()


async def jitter(bench: Bench) -> Result:
    """The connection is cut at random ten times during one answer."""
    talk = await Conversation.start(bench, "network jitter")
    device = await Device(bench, talk.user, talk.scope).open()
    rng = random.Random(bench.seed)
    shaken = asyncio.create_task(_shake(device, rng))
    try:
        message_id = await talk.answer(hold=lambda: asyncio.wait_for(asyncio.shield(shaken), RECOVERY_LIMIT))
        missed = None if device.proxy.cuts >= CUTS else f"only {device.proxy.cuts} cuts"
        return await talk.score([device], message_id, missed)
    finally:
        shaken.cancel()
        await device.close()


async def _shake(device: Device, rng: random.Random) -> None:
    while device.proxy.cuts < CUTS:
        await asyncio.sleep(rng.uniform(0.05, 0.35))
        device.proxy.cut()


SCENARIOS: tuple[Callable[[Bench], Awaitable[Result]], ...] = (
    normal,
    disconnect,
    several_devices,
    long_task,
    jitter,
)


async def run_demo(
    stack: LocalStack, text: str, *, seed: int, progress: Callable[[str, float], None]
) -> AsyncIterator[Result]:
    """Run the five scenarios on a running, migrated stack; yields each result as it is known.

    ``progress(scenario, fraction)`` is called as the answer grows.
    """
    async with RestStore(stack.url, stack.service_role_key) as service:
        bench = Bench(stack, text, seed, progress, service)
        for scenario in SCENARIOS:
            yield await scenario(bench)


def as_json_object(results: Sequence[Result]) -> dict[str, Any]:
    return {"scenarios": [asdict(result) for result in results], "ok": all(result.ok for result in results)}


def as_table(results: Sequence[Result]) -> str:
    """The table that the demo prints: a header, and a line for each scenario."""
    head = ("scenario", "sent", "live", "recovered", "lost", "duplicates", "p50 ms", "p99 ms", "verdict")
    rows = [
        head,
        *(tuple("–" if v is None else str(v) for v in asdict(result).values()) for result in results),
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in (0, len(head) - 1) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
