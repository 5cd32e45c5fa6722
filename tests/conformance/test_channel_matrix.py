"""What verify says of private channels is what the stack's own authorization says, for the same rows, committed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from realtime_toolkit.stack.realtime import authorization
from realtime_toolkit.stack.realtime.access import Reader
from realtime_toolkit.verify.channels import ChannelCell, Channels, find_topics
from realtime_toolkit.verify.config import Config
from realtime_toolkit.verify.probing import Answer
from realtime_toolkit.verify.seeding import Who
from realtime_toolkit.verify.stage import staged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.conformance.harness import Harness

TESTS = Path(__file__).parents[1]
FILES = [
    TESTS / "correct" / "app_metadata_claims.sql",
    TESTS / "correct" / "soft_delete.sql",
    TESTS / "flaws" / "CHN001_any_room.sql",
    TESTS / "flaws" / "MSG002_constant_true.sql",
    TESTS / "flaws" / "MSG005_read_without_write.sql",
    TESTS / "flaws" / "MSG006_write_without_read.sql",
]
WHO = {"own": Who.ALICE, "same tenant": Who.BOB, "other tenant": Who.MALLORY, "ownerless": Who.NOBODY}


@dataclass(frozen=True)
class Known:
    script: tuple[str, ...]
    readers: Mapping[str, Reader]
    cells: tuple[tuple[str, ChannelCell], ...]
    """The topic's real name, and what verify says of it."""


def stage(dsn: str) -> Known:
    with psycopg.connect(dsn, autocommit=True) as connection, staged(connection, Config()) as s:
        topics = find_topics(s.model, s.belonging, s.seeder.world, Config())
        names = {(topic.pattern, who): name for topic in topics for who, name in topic.names}
        cells = Channels(connection, s.belonging, s.seeder.world, Config()).cells(topics)
        named = [(names.get((c.topic, WHO[c.whose.value]), "any other"), c) for c in cells]
        readers = {role: Reader(role, person.text) for role, person in s.access.actors.items()}
        return Known(tuple(s.seeder.world.script), readers, tuple(named))


@pytest.mark.parametrize("schema", FILES, ids=lambda path: path.stem)
async def test_the_channel_matrix_is_what_the_stack_decides(harness: Harness, schema: Path) -> None:
    script = await asyncio.to_thread(schema.read_text)
    async with (
        harness.database() as dsn,
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as database,
    ):
        await database.execute(script.encode())
        known = await asyncio.to_thread(stage, dsn)
        for statement in known.script:
            await database.execute(statement.encode())
        assert known.cells
        for name, cell in known.cells:
            context = authorization.Context(known.readers[cell.role], name)
            policies = await authorization.read(database, context, presence=True)
            policies = await authorization.write(database, context, policies, cell.extension)
            decided = getattr(policies, f"{cell.extension}_{cell.action}")
            assert decided is (cell.result.answer is Answer.ALLOW), (name, cell)
