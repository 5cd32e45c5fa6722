"""Who may read and write a private channel: policies on ``realtime.messages``, asked by trying.

To read, probe rows are inserted as the server, then selected as the user; to write, the user inserts.
Everything is rolled back.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from realtime_toolkit.stack.realtime.access import Reader
    from realtime_toolkit.stack.realtime.database import Connection


@dataclass(frozen=True, slots=True)
class Policies:
    """``None``: not asked yet."""

    broadcast_read: bool | None = None
    presence_read: bool | None = None
    broadcast_write: bool | None = None
    presence_write: bool | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """Whose rights, on which topic; ``headers`` is a JSON text."""

    reader: Reader
    topic: str
    headers: str = "{}"


async def read(connection: Connection, context: Context, *, presence: bool) -> Policies:
    """Raises :class:`psycopg.Error` where a policy raises or the role is unknown."""
    broadcast, present = str(uuid.uuid4()), str(uuid.uuid4())
    probes = [(broadcast, "broadcast")] + ([(present, "presence")] if presence else [])
    async with connection.transaction(force_rollback=True):
        async with connection.cursor() as cursor:
            await cursor.executemany(
                "insert into realtime.messages (id, topic, extension) values (%s, %s, %s)",
                [(id_, context.topic, extension) for id_, extension in probes],
            )
        await _become(connection, context)
        seen = await connection.execute(
            "select id::text from realtime.messages where topic = %s and id = any (%s::uuid[])",
            [context.topic, [id_ for id_, _ in probes]],
        )
        visible = {row[0] for row in await seen.fetchall()}
    return Policies(broadcast in visible, present in visible if presence else None)


async def write(connection: Connection, context: Context, policies: Policies, extension: str) -> Policies:
    """``policies`` with the answer for ``broadcast`` or ``presence``; raises :class:`psycopg.Error`."""
    allowed = True
    async with connection.transaction(force_rollback=True):
        await _become(connection, context)
        try:
            async with connection.transaction():
                await connection.execute(
                    "insert into realtime.messages (topic, extension) values (%s, %s)",
                    [context.topic, extension],
                )
        except psycopg.errors.InsufficientPrivilege:
            allowed = False
    if extension == "broadcast":
        return replace(policies, broadcast_write=allowed)
    return replace(policies, presence_write=allowed)


async def _become(connection: Connection, context: Context) -> None:
    claims = context.reader.claims
    await connection.execute(
        "select set_config('role', %s, true), set_config('realtime.topic', %s, true), "
        "set_config('request.jwt.claims', %s, true), set_config('request.headers', %s, true), "
        "set_config('request.jwt.claim.role', %s::jsonb ->> 'role', true), "
        "set_config('request.jwt.claim.sub', %s::jsonb ->> 'sub', true)",
        [context.reader.role, context.topic, claims, context.headers, claims, claims],
    )
