"""The official ``realtime`` client, unmodified, against the server."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from realtime import AsyncRealtimeClient, RealtimePostgresChangesListenEvent, RealtimeSubscribeStates

from realtime_toolkit.settings import mint_token
from tests.conformance.harness import SECRET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from realtime.types import RealtimeChannelOptions

    from tests.conformance.harness import Harness, Served

A, B = str(uuid.uuid4()), str(uuid.uuid4())

NOTES = """
create table public.notes (id int primary key, user_id uuid not null, body text);
grant all on public.notes to anon, authenticated, service_role;
alter table public.notes enable row level security;
create policy own on public.notes for select to authenticated using ((select auth.uid()) = user_id);
alter publication supabase_realtime add table public.notes;
create policy read on realtime.messages for select to authenticated using (realtime.topic() like 'room:%');
create policy write on realtime.messages for insert to authenticated with check (realtime.topic() = 'room:1');
"""


def options(*, private: bool = False, key: str | None = None, own: bool = False) -> RealtimeChannelOptions:
    """``key`` turns presence on, ``own`` has broadcasts acknowledged and sent back to the sender."""
    return {
        "config": {
            "broadcast": {"ack": own, "self": own},
            "presence": {"key": key or "", "enabled": key is not None},
            "private": private,
        }
    }


class Inbox:
    """What callbacks were called with, to be waited for."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._changed = asyncio.Event()

    def __call__(self, item: Any, *_: Any) -> None:
        self.items.append(item)
        self._changed.set()

    async def until(self, true: Callable[[list[Any]], Any]) -> list[Any]:
        async with asyncio.timeout(5):
            while not true(self.items):
                self._changed.clear()
                await self._changed.wait()
        return self.items

    async def count(self, number: int) -> list[Any]:
        return await self.until(lambda items: len(items) >= number)


@pytest.fixture
async def served(harness: Harness) -> AsyncIterator[Served]:
    async with harness.server(NOTES) as served:
        yield served


@contextlib.asynccontextmanager
async def client(served: Served, user: str | None, **claims: Any) -> AsyncIterator[AsyncRealtimeClient]:
    anon = mint_token(SECRET, None, role="anon")
    realtime = AsyncRealtimeClient(f"{served.base}/realtime/v1", token=anon)
    await realtime.connect()
    if user is not None:
        await realtime.set_auth(mint_token(SECRET, user, claims=claims))
    try:
        yield realtime
    finally:
        await realtime.close()


async def join(channel: Any) -> None:
    """Subscribe, and wait until it is so."""
    states = Inbox()
    await channel.subscribe(states)
    await states.until(lambda items: RealtimeSubscribeStates.SUBSCRIBED in items)


async def follow(realtime: AsyncRealtimeClient, name: str = "notes") -> Inbox:
    """Changes of ``notes`` as this client sees them, once the database is subscribed."""
    changes, system = Inbox(), Inbox()
    channel = realtime.channel(name)
    channel.on_postgres_changes(
        RealtimePostgresChangesListenEvent.All, schema="public", table="notes", callback=changes
    )
    channel.on_system(system)
    await join(channel)
    await system.until(lambda items: any("Subscribed to PostgreSQL" in str(item) for item in items))
    return changes


async def execute(served: Served, *statements: str) -> None:
    async with await psycopg.AsyncConnection.connect(served.dsn, autocommit=True) as database:
        for statement in statements:
            await database.execute(statement.encode())


async def test_insert_update_and_delete_under_rls_and_a_stranger(served: Served) -> None:
    async with client(served, A) as mine, client(served, B) as strangers:
        changes, others = await follow(mine), await follow(strangers)
        # Row by row: policies are asked about the row as it is when the change is dealt with.
        for number, statement in enumerate(
            (
                f"insert into notes values (1, '{A}', 'first')",
                "update notes set body = 'second'",
                "delete from notes where id = 1",
            ),
            start=1,
        ):
            await execute(served, statement)
            received = await changes.count(number)
        await execute(served, f"insert into notes values (2, '{B}', 'to be seen by the stranger alone')")
        data = [item["data"] for item in received]
        assert [item["type"] for item in data] == ["INSERT", "UPDATE", "DELETE"]
        assert [item.get("record", {}).get("body") for item in data] == ["first", "second", None]
        assert data[2]["old_record"] == {"id": 1}
        seen = await others.until(lambda items: any(i["data"]["type"] == "INSERT" for i in items))
        # A DELETE is told to everybody, but only its key; nothing else of another's row is.
        assert [(item["data"]["type"], item["data"].get("record", {}).get("id")) for item in seen] == [
            ("DELETE", None),
            ("INSERT", 2),
        ]


async def test_filters(served: Served) -> None:
    async with client(served, A) as mine:
        changes, system = Inbox(), Inbox()
        channel = mine.channel("filtered")
        channel.on_postgres_changes(
            RealtimePostgresChangesListenEvent.Insert,
            schema="public",
            table="notes",
            filter="body=eq.wanted",
            callback=changes,
        ).on_system(system)
        await join(channel)
        await system.until(lambda items: any("Subscribed to PostgreSQL" in str(item) for item in items))
        await execute(served, f"insert into notes values (1, '{A}', 'other'), (2, '{A}', 'wanted')")
        (change,) = await changes.count(1)
        assert change["data"]["record"]["id"] == 2


async def test_broadcast_to_others_and_to_oneself(served: Served) -> None:
    async with client(served, A) as first, client(served, B) as second:
        here, there = Inbox(), Inbox()
        sender = first.channel("talk", options(own=True))
        await join(sender.on_broadcast("hi", here))
        await join(second.channel("talk").on_broadcast("hi", there))
        await sender.send_broadcast("hi", {"n": 1})
        assert (await there.count(1))[0]["payload"] == {"n": 1}
        assert (await here.count(1))[0]["payload"] == {"n": 1}


async def test_private_channels(served: Served) -> None:
    private = options(private=True)
    async with client(served, A) as first, client(served, B) as second:
        received, refused = Inbox(), Inbox()
        await join(second.channel("room:1", private).on_broadcast("*", received))
        sender = first.channel("room:1", private)
        await join(sender)
        await sender.send_broadcast("hi", {"n": 1})
        await received.count(1)  # the two go different ways, so neither waits for the other
        await execute(served, """select realtime.send('{"n": 2}', 'db', 'room:1')""")
        assert [item["payload"]["n"] for item in await received.count(2)] == [1, 2]
        await first.channel("secret", private).subscribe(refused)
        await refused.until(lambda items: RealtimeSubscribeStates.CHANNEL_ERROR in items)


async def test_presence(served: Served) -> None:
    async with client(served, A) as first, client(served, B) as second:
        joins, leaves = Inbox(), Inbox()
        watching = first.channel("lobby", options(key="one"))
        watching.on_presence_join(lambda key, *_: joins(key)).on_presence_leave(lambda key, *_: leaves(key))
        await join(watching)
        coming = second.channel("lobby", options(key="two"))
        coming.on_presence_sync(lambda: None)
        await join(coming)
        await coming.track({"mood": "good"})
        await joins.until(lambda items: "two" in items)
        assert "good" in str(watching.presence_state()["two"])
        await coming.untrack()
        await leaves.until(lambda items: "two" in items)


async def test_a_new_token_changes_what_is_seen(served: Served) -> None:
    async with client(served, A) as realtime:
        changes = await follow(realtime)
        await execute(served, f"insert into notes values (1, '{A}', 'a')")
        await changes.count(1)
        system = Inbox()
        realtime.channels["realtime:notes"].on_system(system)
        await realtime.set_auth(mint_token(SECRET, B))
        await system.until(lambda items: any("Subscribed to PostgreSQL" in str(item) for item in items))
        await execute(served, f"insert into notes values (2, '{A}', 'not any more'), (3, '{B}', 'but this')")
        assert [item["data"]["record"]["id"] for item in await changes.count(2)] == [1, 3]
