"""Each fault, and what it looks like to the stock client: mostly like nothing at all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from realtime import RealtimePostgresChangesListenEvent, RealtimeSubscribeStates
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from realtime_toolkit import phoenix
from realtime_toolkit.phoenix import Vsn
from realtime_toolkit.settings import mint_token
from tests.conformance.harness import SECRET
from tests.conformance.talk import SUBSCRIBED, talk
from tests.conformance.test_python_clients import NOTES, A, Inbox, client, execute, follow, join, options

ALL = RealtimePostgresChangesListenEvent.All
TOPIC = "realtime:notes"

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from realtime import AsyncRealtimeClient

    from tests.conformance.harness import Harness, Served


@pytest.fixture
async def served(harness: Harness) -> AsyncIterator[Served]:
    async with harness.server(NOTES) as served:
        yield served


def ids(items: list[Any]) -> list[int]:
    return [(item["data"].get("record") or item["data"]["old_record"])["id"] for item in items]


async def write(served: Served, *numbers: int) -> None:
    values = ", ".join(f"({number}, '{A}', 'text of {number}')" for number in numbers)
    await execute(served, f"insert into notes values {values}")


async def until(true: Callable[[], bool]) -> None:
    """Wait for a state of the server, which tells nobody of it."""
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to that")


async def notices_nothing(realtime: AsyncRealtimeClient) -> None:
    assert realtime.is_connected
    assert all(channel.is_joined for channel in realtime.channels.values())


@pytest.mark.parametrize(
    ("fault", "lost"),
    [("L6", {1}), ("L5:0.3", {1}), ("L7:0.3", {1}), ("cut-transaction:2", {3, 4}), ("delay:0.2", set())],
)
async def test_changes_are_lost_without_a_word(served: Served, fault: str, lost: set[int]) -> None:
    async with client(served, A) as realtime:
        changes = await follow(realtime)
        served.realtime.faults.inject_text(fault)
        if fault.startswith("L7"):
            await until(lambda: not served.realtime.server.reader.connected.is_set())
        await write(served, *([1, 2, 3, 4] if fault.startswith("cut") else [1]))
        await asyncio.sleep(0.4)  # the fault's own duration is over
        await served.realtime.server.reader.connected.wait()
        await write(served, 9)
        received = await changes.until(lambda items: 9 in ids(items))
        written = {1, 2, 3, 4, 9} if fault.startswith("cut") else {1, 9}
        assert set(ids(received)) == written - lost
        await notices_nothing(realtime)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of websockets, at which the client would die
async def test_l1_what_is_written_in_a_socket_gap_never_comes(served: Served) -> None:
    async with client(served, A) as realtime:
        changes = await follow(realtime)
        # A client that is back before the change is processed gets it all the same, as of the genuine server.
        served.realtime.faults.inject("join-late", 0.5)
        served.realtime.faults.inject("L1")
        await until(lambda: not served.realtime.server.feed.subscribers())
        await write(served, 1)
        await until(lambda: bool(served.realtime.server.feed.subscribers()))  # the stock client comes back
        await write(served, 2)
        assert ids(await changes.count(1)) == [2]


async def test_l2_joined_is_not_subscribed(served: Served) -> None:
    served.realtime.faults.inject("L2", 0.3)
    async with client(served, A) as realtime:
        changes, system = Inbox(), Inbox()
        channel = realtime.channel("notes")
        channel.on_postgres_changes(ALL, schema="public", table="notes", callback=changes).on_system(system)
        await join(channel)
        await write(served, 1)  # SUBSCRIBED, says the client
        await system.until(lambda items: any("Subscribed to PostgreSQL" in str(item) for item in items))
        await write(served, 2)
        assert ids(await changes.count(1)) == [2]


async def test_l3_a_second_subscribed_is_all_that_shows(served: Served) -> None:
    async with client(served, A) as realtime:
        changes, system = await follow(realtime), Inbox()
        realtime.channels["realtime:notes"].on_system(system)
        served.realtime.faults.inject("L3", 0.3)
        await write(served, 1)
        await system.until(lambda items: any("Subscribed to PostgreSQL" in str(item) for item in items))
        await write(served, 2)
        assert ids(await changes.count(1)) == [2]
        await notices_nothing(realtime)


@pytest.mark.parametrize(("fault", "told"), [("slot-lost:0.2", 1), ("connections-lost:0.2", 2)])
async def test_l7_only_the_loss_of_every_connection_shows(served: Served, fault: str, told: int) -> None:
    async with talk(served) as talking:
        await talking.follow(TOPIC, "notes", mint_token(SECRET, A))
        server = served.realtime.server
        before = server.reader.slot
        served.realtime.faults.inject_text(fault)
        await until(lambda: not server.reader.connected.is_set())
        await write(served, 1)  # lost
        await until(lambda: server.reader.connected.is_set() and server.reader.slot != before)
        await write(served, 2)
        await talking.until(lambda: 2 in talking.records(TOPIC))
        await talking.until(lambda: talking.system(TOPIC).count(SUBSCRIBED) == told)
        await talking.beat()
        assert talking.records(TOPIC) == [2]
        assert talking.system(TOPIC) == [SUBSCRIBED] * told


async def test_l4_a_table_published_now_is_decoded_later(served: Served) -> None:
    served.realtime.faults.inject("L4", 0.5)
    await execute(
        served,
        "create table public.late (id int primary key, body text)",
        "grant select on public.late to authenticated",
        "alter publication supabase_realtime add table public.late",
    )
    async with client(served, A) as realtime:
        changes, system = Inbox(), Inbox()
        channel = realtime.channel("late")
        channel.on_postgres_changes(ALL, schema="public", table="late", callback=changes).on_system(system)
        await join(channel)
        await system.until(lambda items: any("Subscribed to PostgreSQL" in str(item) for item in items))
        await execute(served, "insert into late values (1, 'x')")
        number = 1
        async with asyncio.timeout(5):
            while not changes.items:
                number += 1
                await execute(served, f"insert into late values ({number}, 'x')")
                await asyncio.sleep(0.05)
        assert 1 not in ids(changes.items)


@pytest.mark.parametrize(("how", "errors"), [("toast", None), ("413", ["Error 413: Payload Too Large"])])
async def test_l8_values_are_missing(served: Served, how: str, errors: list[str] | None) -> None:
    async with client(served, A) as realtime:
        changes = await follow(realtime)
        served.realtime.faults.inject("L8", how)
        await write(served, 1)
        data = (await changes.count(1))[0]["data"]
        assert data["errors"] == errors
        assert data["record"].keys() == {"id", "body"}  # the largest value is not there


@pytest.mark.parametrize("how", ["400", "401"])
async def test_l8_the_stock_client_cannot_read_a_refusal(served: Served, how: str) -> None:
    """Its commit_timestamp is null: the client logs that it cannot parse the frame, and goes on."""
    async with client(served, A) as realtime:
        changes = await follow(realtime)
        served.realtime.faults.inject("L8", how)
        await write(served, 1)
        await write(served, 2)
        assert ids(await changes.count(1)) == [2]
        await notices_nothing(realtime)


async def test_l9_a_sent_broadcast_is_swallowed(served: Served) -> None:
    async with client(served, A) as realtime:
        received = Inbox()
        await join(realtime.channel("room:1", options(private=True)).on_broadcast("*", received))
        served.realtime.faults.inject("L9")
        for number in (1, 2):
            await execute(served, f"""select realtime.send('{{"n": {number}}}', 'e', 'room:1')""")
        assert [item["payload"]["n"] for item in await received.count(1)] == [2]


async def test_l10_a_replay_is_capped(served: Served) -> None:
    for number in (1, 2, 3):
        await execute(served, f"""select realtime.send('{{"n": {number}}}', 'e', 'room:1')""")
    served.realtime.faults.inject("L10", 2)
    frames = await conversation(served, replay={"since": 0, "limit": 25}, wanted=3)
    assert [frame.payload["payload"]["n"] for frame in frames[1:]] == [2, 3]


async def test_l11_a_delete_is_told_to_nobody(served: Served) -> None:
    async with client(served, A) as realtime:
        changes = await follow(realtime)
        await write(served, 1)
        await changes.count(1)
        served.realtime.faults.inject("L11")
        await execute(served, "delete from notes")
        await write(served, 2)
        assert [item["data"]["type"] for item in await changes.count(2)] == ["INSERT", "INSERT"]


async def test_a_duplicate_event(served: Served) -> None:
    async with client(served, A) as realtime:
        changes = await follow(realtime)
        served.realtime.faults.inject("duplicate")
        await write(served, 1)
        assert ids(await changes.count(2)) == [1, 1]


async def test_an_expired_token_ends_the_channel(served: Served) -> None:
    async with client(served, A) as realtime:
        states = Inbox()
        await realtime.channel("room").subscribe(states)
        await states.until(lambda items: RealtimeSubscribeStates.SUBSCRIBED in items)
        served.realtime.faults.inject("expire-token")
        await states.until(lambda items: RealtimeSubscribeStates.CLOSED in items)
        assert RealtimeSubscribeStates.CHANNEL_ERROR in states.items
        assert realtime.is_connected


# --- connections: below the stock client ------------------------------------------------------------


def address(served: Served) -> str:
    anon = mint_token(SECRET, None, role="anon")
    return f"{served.base.replace('http', 'ws')}/realtime/v1/websocket?apikey={anon}&vsn=2.0.0"


async def conversation(served: Served, *, replay: Any, wanted: int) -> list[phoenix.Message]:
    config = {"private": True, "broadcast": {"replay": replay}}
    async with connect(address(served)) as socket:
        message = phoenix.join("realtime:room:1", "1", config, mint_token(SECRET, A))
        await socket.send(phoenix.encode(message, Vsn.V2))
        return [phoenix.decode(await socket.recv(), Vsn.V2) for _ in range(wanted)]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("abort", 1006),
        *((f"close:{code}", code) for code in (1000, 1001, 1011, 1012)),
        ("slow-consumer", 1013),
    ],
)
async def test_sockets_end_in_every_way(served: Served, fault: str, code: int) -> None:
    async with connect(address(served)) as socket:
        await socket.send(phoenix.encode(phoenix.heartbeat("1"), Vsn.V2))
        await socket.recv()
        served.realtime.faults.inject_text(fault)
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(socket.recv(), 5)
        received = closed.value.rcvd
        assert (received.code if received else 1006) == code


@pytest.mark.parametrize("fault", ["half-open", "mute-heartbeats"])
async def test_heartbeats_that_nobody_answers(served: Served, fault: str) -> None:
    async with connect(address(served), ping_interval=None) as socket:
        await socket.send(phoenix.encode(phoenix.heartbeat("1"), Vsn.V2))
        await socket.recv()
        served.realtime.faults.inject(fault)
        await socket.send(phoenix.encode(phoenix.heartbeat("2"), Vsn.V2))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(socket.recv(), 0.2)
        if fault == "half-open":
            socket.transport.abort()


@pytest.mark.parametrize(("fault", "seconds"), [("join-late:0.3", 0.3), ("join-never", None)])
async def test_a_join_answered_late_or_never(served: Served, fault: str, seconds: float | None) -> None:
    served.realtime.faults.inject_text(fault)
    async with connect(address(served)) as socket:
        await socket.send(phoenix.encode(phoenix.join("realtime:x", "1"), Vsn.V2))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(socket.recv(), 0.2)
        if seconds is None:
            await socket.send(phoenix.encode(phoenix.heartbeat("2"), Vsn.V2))
        frame = phoenix.decode(await asyncio.wait_for(socket.recv(), 2), Vsn.V2)
        assert frame.topic == ("phoenix" if seconds is None else "realtime:x")


async def test_a_malformed_frame_and_a_stale_close(served: Served) -> None:
    async with connect(address(served)) as socket:
        await socket.send(phoenix.encode(phoenix.join("realtime:x", "1"), Vsn.V2))
        await socket.recv()
        served.realtime.faults.inject("malformed-frame")
        assert await socket.recv() == '{"topic":'
        served.realtime.faults.inject("stale-close")
        frame = phoenix.decode(await socket.recv(), Vsn.V2)
        assert (frame.event, frame.join_ref) == ("phx_close", "10")


async def test_a_socket_is_refused(served: Served) -> None:
    served.realtime.faults.inject("refuse", count=2)
    for _ in range(2):
        with pytest.raises(InvalidStatus) as refused:
            await connect(address(served))
        assert refused.value.response.status_code == 401
    async with connect(address(served)):
        pass
