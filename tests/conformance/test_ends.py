"""No part of the server ends without its owner knowing, and no batch of changes ends one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from realtime_toolkit.settings import mint_token
from tests.conformance.harness import SECRET
from tests.conformance.talk import talk
from tests.conformance.test_python_clients import NOTES, A, execute

if TYPE_CHECKING:
    from tests.conformance.harness import Harness

PARTS = [
    "reader of the WAL",
    "stream of changes",
    "watch over the publication",
    "keeper of partitions",
    "watch over idle sockets",
]


@pytest.mark.parametrize("name", PARTS)
async def test_a_part_that_ends_is_told(harness: Harness, name: str) -> None:
    told: list[str] = []
    async with harness.server(on_failure=told.append):
        (task,) = (task for task in asyncio.all_tasks() if task.get_name() == name)
        task.cancel()  # by somebody else
        await asyncio.wait({task})
        await asyncio.sleep(0)
        assert told == [f"the Realtime server's {name} ended: CancelledError()"]
    assert len(told) == 1  # what ends with the server is no failure


async def test_a_batch_that_breaks_the_server_is_lost_and_no_more(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with harness.server(NOTES) as served, talk(served) as talking:
        await talking.follow("realtime:notes", "notes", mint_token(SECRET, A))
        server = served.realtime.server
        broken = asyncio.Event()

        async def process(*_: Any) -> Any:
            monkeypatch.undo()
            broken.set()
            raise ValueError("a mistake of ours")

        monkeypatch.setattr(server.feed, "process", process)
        await execute(served, f"insert into notes values (1, '{A}', 'x')")
        await broken.wait()
        number = 1
        while number not in talking.records("realtime:notes"):
            number += 1
            await execute(served, f"insert into notes values ({number}, '{A}', 'x')")
            await asyncio.sleep(0.02)
        assert 1 not in talking.records("realtime:notes")
