"""Following a scope on a real stack: listeners, what their handlers heard, and the truth to hold it against."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from realtime_toolkit.events import Event, RowChanged, State, StateChanged, TextAppended, TextReset
from realtime_toolkit.follow.listener import Listener, Timing
from realtime_toolkit.model import ChangeType, RowRef
from realtime_toolkit.store import RestStore
from tests.integration.acting import acting, column

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from realtime_toolkit.model import Row, Scope
    from realtime_toolkit.stack import LocalStack
    from tests.integration.acting import Connection

QUICK = Timing(
    connect=3, join=2, subscribe=4, heartbeat=0.5, reply=0.5, close=1, check=1.0, hole=0.1, refetch=0.05
)
"""Notices in a second what the defaults notice in a minute."""
PATIENT = Timing(check=3600.0)
"""Never compares unasked: what is lost stays lost."""
LIMIT = 20.0
"""Seconds that a test waits for an event."""

CHAT = {
    "public.conversations": "select to_jsonb(t) from public.conversations t where id = %s",
    "public.tasks": "select to_jsonb(t) from public.tasks t where conversation_id = %s",
    "public.messages": "select to_jsonb(t) from public.messages t where conversation_id = %s",
    "public.message_chunks": "select to_jsonb(t) from public.message_chunks t where conversation_id = %s",
}
SHOP = {
    "public.orders": "select to_jsonb(t) from public.orders t where tenant_id = %s",
    "public.order_lines": "select to_jsonb(t) from public.order_lines t where tenant_id = %s",
}


class Heard:
    """A handler that builds what a user's code would, and objects to being told anything twice."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.rows: dict[RowRef, Row] = {}
        self.texts: dict[str, str] = {}
        self.via: Counter[str] = Counter()
        self._told: set[tuple[RowRef, str, int]] = set()
        self._changed = asyncio.Event()
        self.wrong: list[str] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        match event:
            case RowChanged():
                self._row(event)
            case TextAppended(message_id, _, position, text):
                so_far = self.texts.get(message_id, "")
                if position != len(so_far):
                    self.wrong.append(f"text at {position} after {len(so_far)} characters")
                self.texts[message_id] = so_far + text
            case TextReset(message_id, _):
                self.texts[message_id] = ""
        self._changed.set()

    def _row(self, event: RowChanged) -> None:
        change = event.change
        ref = RowRef(change.table, change.key)
        self.via[event.via] += 1
        if change.type is ChangeType.DELETE:
            if self.rows.pop(ref, None) is None:
                self.wrong.append(f"the end of {ref}, which was not there")
            return
        assert change.row is not None
        assert change.version is not None
        told = ref, change.row["created_at"], change.version
        if told in self._told:
            self.wrong.append(f"{told} twice")
        self._told.add(told)
        self.rows[ref] = change.row

    def of(self, wanted: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, wanted)]

    @property
    def states(self) -> list[State]:
        return [event.state for event in self.of(StateChanged)]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def row(self, condition: Callable[[RowChanged], bool]) -> RowChanged:
        """The first row change that fits."""
        await self.until(lambda: any(condition(event) for event in self.of(RowChanged)))
        found: list[RowChanged] = [event for event in self.of(RowChanged) if condition(event)]
        return found[0]


@asynccontextmanager
async def following(
    stack: LocalStack, user: str, scope: Scope, heard: Heard | None = None, **options: Any
) -> AsyncIterator[tuple[Listener, Heard]]:
    """A listener of this user that is synced, over PostgREST; ``url`` is that of the socket."""
    handler = heard or Heard()
    settings: dict[str, Any] = {"timing": QUICK, "backoff": (0.02, 0.2), "url": stack.url}
    settings |= {"token": lambda: stack.token(user), **options}
    url, token = settings.pop("url"), settings.pop("token")
    async with (
        RestStore(stack.url, stack.anon_key, token=lambda: stack.token(user)) as store,
        Listener(url, stack.anon_key, token, scope, store, on_event=handler, **settings) as listener,
    ):
        await asyncio.wait_for(listener.synced(), LIMIT)
        yield listener, handler


async def truth(db: Connection, user: str, value: Any, queries: dict[str, str]) -> dict[str, dict[str, Row]]:
    """Table → canonical key → row, of a fresh query as this user."""
    found: dict[str, dict[str, Row]] = {}
    async with acting(db, user):
        for table, query in queries.items():
            found[table] = {str(n): row for n, row in enumerate(await column(db, query, value))}
    return found


def by_value(rows: dict[str, Row]) -> list[str]:
    return sorted(repr(sorted(row.items())) for row in rows.values())


async def whole(
    db: Connection, user: str, value: Any, listener: Listener, heard: Heard, queries: dict[str, str] = CHAT
) -> None:
    """After quiescence, replica and handler have exactly what a fresh query as this user shows."""
    await asyncio.wait_for(listener.synced(), LIMIT)
    await asyncio.wait_for(listener.resync("the end"), LIMIT)
    expected = await truth(db, user, value, queries)
    await heard.until(lambda: heard.rows.keys() == set(listener.replica))
    for table, rows in expected.items():
        assert by_value(listener.replica.rows(table)) == by_value(rows), table
        told = {ref.key: row for ref, row in heard.rows.items() if ref.table == table}
        assert by_value(told) == by_value(rows), table
    for row in expected.get("public.messages", {}).values():
        if row["status"] not in ("pending", "streaming"):
            assert heard.texts.get(row["id"], "") == row["content"]
    assert heard.wrong == []
