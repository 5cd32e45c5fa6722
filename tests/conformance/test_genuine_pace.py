"""With ``pace="genuine"`` the server takes its time where the genuine one does."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from realtime_toolkit.settings import mint_token
from realtime_toolkit.stack.realtime.pace import Pace
from tests.conformance.harness import SECRET
from tests.conformance.talk import SUBSCRIBED, address, talk
from tests.conformance.test_python_clients import A, execute

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.conformance.harness import Harness, Served
    from tests.conformance.talk import Talk

SCHEMA = """
create table public.things (id int primary key, t text);
grant all on public.things to anon, authenticated, service_role;
alter publication supabase_realtime add table public.things;
"""
TOPIC = "realtime:things"
TOKEN = mint_token(SECRET, A)


@pytest.fixture
async def served(harness: Harness) -> AsyncIterator[Served]:
    async with harness.server(SCHEMA, pace="genuine") as served:
        yield served


@contextmanager
def takes(least: float, most: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert least <= time.monotonic() - began < most + 1.0  # of a loaded machine


async def test_a_refused_join_holds_up_its_socket_for_five_seconds(served: Served) -> None:
    async with talk(served) as talking, talk(served) as other:
        with takes(5.0, 5.0):
            ref = await talking.start_join("realtime:secret", TOKEN, private=True)
            beat = asyncio.create_task(talking.beat(8))
            with takes(0.0, 0.1):
                await other.beat()
            assert await talking.status(ref, 8) == "error"
        await asyncio.wait_for(beat, 1)


async def test_a_refused_socket_is_answered_after_two_seconds(served: Served) -> None:
    with takes(2.0, 2.0), pytest.raises(InvalidStatus) as refused:
        await connect(address(served).replace("apikey=", "apikey=x"))
    assert refused.value.response.status_code == 401


async def test_subscriptions_and_polls(served: Served) -> None:
    async with talk(served) as talking:
        with takes(1.4, 2.9):  # the first of a server
            await talking.follow(TOPIC, "things", TOKEN)
        await talking.push(TOPIC, "access_token", {"access_token": mint_token(SECRET, A, claims={"n": 1})})
        with takes(1.0, 3.0):
            await talking.until(lambda: talking.system(TOPIC).count(SUBSCRIBED) == 2)
        delays = [await _delay(served, talking, number) for number in range(1, 7)]
        assert max(delays) < 1.5
        assert max(delays) > 0.05  # polled, at most twice a second
        with takes(0.0, 0.1):  # broadcasts come at once
            await _broadcast(served, talking)


async def test_broadcasts_from_the_database_do_not_wait_for_a_poll(harness: Harness) -> None:
    """FACTS, Measurements: ``realtime.send`` to client in 1 to 2 ms, with a slot of its own."""
    policy = "create policy read on realtime.messages for select to authenticated using (true);"
    async with harness.server(SCHEMA + policy, pace=Pace(poll=3600.0)) as served, talk(served) as talking:
        await talking.follow(TOPIC, "things", TOKEN)
        await talking.join("realtime:room", TOKEN, private=True)
        for number in (1, 2):  # the second finds changes waiting
            send = f"""select realtime.send('{{"n": {number}}}', 'e', 'room')"""
            await execute(served, f"insert into things values ({number}, 'x')", send)
            await _hears(talking, number)
        assert talking.records(TOPIC) == []


async def _hears(talking: Talk, number: int) -> None:
    await talking.until(lambda: len(talking.broadcasts("realtime:room")) == number)


async def _delay(served: Served, talking: Talk, number: int) -> float:
    await execute(served, f"insert into things values ({number}, 'x')")
    began = time.monotonic()
    await talking.until(lambda: number in talking.records(TOPIC))
    return time.monotonic() - began


async def _broadcast(served: Served, talking: Talk) -> None:
    async with httpx.AsyncClient(base_url=served.base, headers={"apikey": TOKEN}) as client:
        message = {"topic": "things", "event": "e", "payload": {"n": 1}}
        answer = await client.post("/realtime/v1/api/broadcast", json={"messages": [message]})
    assert answer.status_code == 202
    await talking.until(lambda: talking.broadcasts(TOPIC))
