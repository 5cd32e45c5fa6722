"""Every commit reaches the subscriber: the WAL has it a moment before other sessions can see the row."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import websockets

if TYPE_CHECKING:
    import psycopg

    from realtime_toolkit.stack import LocalStack
    from tests.external.pacing import Pace

COMMITS = 600


async def test_a_row_is_not_looked_for_before_its_commit_is_visible(
    stack: LocalStack, db: psycopg.AsyncConnection[Any], user: str, conversation: str, pace: Pace
) -> None:
    """Without waiting for that, about one commit in a hundred was taken for a row that RLS hides."""
    address = stack.url.replace("http", "ws", 1)
    query = f"apikey={stack.anon_key}&vsn=2.0.0"
    async with websockets.connect(f"{address}/realtime/v1/websocket?{query}") as socket:
        binding = {
            "event": "UPDATE",  # a server that polls also tells of what was committed just before
            "schema": "public",
            "table": "conversations",
            "filter": f"id=eq.{conversation}",
        }
        payload = {"config": {"postgres_changes": [binding]}, "access_token": stack.token(user)}
        await socket.send(json.dumps(["1", "1", "realtime:commits", "phx_join", payload]))
        async with asyncio.timeout(20):
            while "Subscribed to PostgreSQL" not in str(await socket.recv()):
                pass
            await pace.write(COMMITS)
            writing = asyncio.create_task(_commit(db, conversation))
            titles: list[str] = []
            while len(titles) < COMMITS:
                *_, event, frame = json.loads(await socket.recv())
                if event == "postgres_changes":
                    titles.append(frame["data"]["record"]["title"])
            await writing
    assert titles == [str(number) for number in range(COMMITS)]


async def _commit(db: psycopg.AsyncConnection[Any], conversation: str) -> None:
    for number in range(COMMITS):
        await db.execute("update conversations set title = %s where id = %s", [str(number), conversation])
