"""Broadcast from the database: rows of ``realtime.messages`` from the WAL, their replay, their partitions.

The genuine server makes the publication :data:`GENUINE` when the first client comes, and migrations before that may make
it themselves. So this one streams a publication of its own, and makes that one when it would be there.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
import psycopg

from realtime_toolkit.phoenix import Message, UserBroadcast
from realtime_toolkit.wal import decoder as wal

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from realtime_toolkit.stack.realtime.hub import Hub

log = logging.getLogger("realtime_toolkit.stack.realtime")

STREAM = "toolkit_realtime_messages"
GENUINE = "supabase_realtime_messages_publication"

_LATEST = 253_402_300_799_999
"""9999-12-31 in milliseconds: what ``since`` may be at most."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A row of ``realtime.messages``. ``payload`` is JSON text, or bytes if ``is_json`` is false."""

    id: str
    topic: str
    event: str
    private: bool
    payload: bytes
    is_json: bool

    def broadcast(self) -> UserBroadcast:
        meta = orjson.dumps({"id": self.id})
        return UserBroadcast(f"realtime:{self.topic}", self.event, self.payload, self.is_json, meta)


def is_message(item: wal.RowChange) -> bool:
    return (
        item.relation.schema == "realtime"
        and item.relation.table.startswith("messages")
        and item.kind == "INSERT"
    )


def read(change: wal.RowChange) -> Sent | None:
    """The message of an inserted row; ``None``, and a line in the log, for one that cannot be sent."""
    names = (column.name for column in change.relation.columns)
    values = {
        name: value for name, value in zip(names, change.new or (), strict=True) if isinstance(value, bytes)
    }
    binary, payload = values.get("binary_payload"), values.get("payload")
    if "event" not in values or "topic" not in values or (binary is None and not _is_object(payload)):
        log.error("UnableToBroadcastChanges: a message needs a topic, an event and an object as payload")
        return None
    return Sent(
        id=values["id"].decode(),
        topic=values["topic"].decode(),
        event=values["event"].decode(),
        private=values.get("private") == b"t",
        payload=bytes.fromhex(binary[2:].decode()) if binary is not None else (payload or b""),
        is_json=binary is None,
    )


def _is_object(payload: bytes | None) -> bool:
    return payload is not None and payload[:1] == b"{"


def send(hub: Hub, sent: Sent) -> None:
    hub.broadcast((sent.topic, sent.private), sent.broadcast(), message_id=sent.id)


# --- replay ---------------------------------------------------------------------------------------


class ReplayError(Exception):
    """The replay that a join asks for cannot be; the text is its reason."""


@dataclass(frozen=True, slots=True)
class Replay:
    since: datetime.datetime
    limit: int


def parse_replay(params: Any, *, private: bool, maximum: int) -> Replay | None:
    """``config.broadcast.replay``: ``{since: milliseconds, limit}``. Raises :class:`ReplayError`."""
    if not private:
        raise ReplayError("UnableToReplayMessages: Replay is not allowed for public channels")
    if not isinstance(params, dict):
        return None
    since, limit = _integer(params.get("since")), _integer(params.get("limit", maximum))
    if since is None or limit is None or not 0 <= since <= _LATEST:
        raise ReplayError("UnableToReplayMessages: Replay params are not valid")
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=since)
    return Replay(moment, max(1, min(limit, maximum)))


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


async def stored(
    connection: AsyncConnection[Any], topic: str, replay: Replay, join_ref: Any
) -> list[tuple[str, Message | UserBroadcast]]:
    """The last messages since then, oldest first, by their ids, as a replay sends them to the join ``join_ref``."""
    cursor = await connection.execute(
        "select id::text, event, payload, binary_payload from realtime.messages "
        "where topic = %s and private and extension = 'broadcast' and inserted_at >= %s "
        "and coalesce(payload::text, binary_payload::text) is not null "
        "order by inserted_at desc limit %s",
        [topic, replay.since, replay.limit],
    )
    return [(row[0], _replayed(f"realtime:{topic}", join_ref, *row)) for row in await cursor.fetchall()][::-1]


def _replayed(
    topic: str, join_ref: Any, id_: str, event: str, payload: Any, binary: Any
) -> Message | UserBroadcast:
    meta = {"id": id_, "replayed": True}
    if binary is not None:
        return UserBroadcast(
            topic, event, bytes(binary), is_json=False, metadata=orjson.dumps(meta), join_ref=join_ref
        )
    told = {"event": event, "payload": payload, "type": "broadcast", "meta": meta}
    return Message(topic, "broadcast", told, None, join_ref)


# --- publications and partitions --------------------------------------------------------------------


async def make_stream(connection: AsyncConnection[Any]) -> None:
    """What is streamed: inserts alone, under the name of the partitions' root. Raises :class:`psycopg.Error`."""
    options = "with (publish = 'insert', publish_via_partition_root = true)"
    await _publish(connection, STREAM, f"for table realtime.messages {options}")


async def make_genuine(connection: AsyncConnection[Any]) -> None:
    """Raises :class:`psycopg.Error`."""
    await _publish(connection, GENUINE, "for table realtime.messages")


async def _publish(connection: AsyncConnection[Any], name: str, what: str) -> None:
    known = await connection.execute("select from pg_catalog.pg_publication where pubname = %s", [name])
    if not known.rowcount:
        with contextlib.suppress(psycopg.errors.DuplicateObject):  # somebody else was faster
            await connection.execute(f"create publication {name} {what}".encode())


def partitions(today: datetime.date) -> list[str]:
    """One partition a day, from yesterday to three days ahead, as the genuine server keeps them: the statements."""
    days = [today + datetime.timedelta(days=offset) for offset in range(-1, 5)]
    return [
        f"create table if not exists realtime.messages_{day:%Y_%m_%d} partition of realtime.messages "
        f"for values from ('{day:%Y-%m-%d}') to ('{after:%Y-%m-%d}')"
        for day, after in itertools.pairwise(days)
    ]


async def make_partitions(connection: AsyncConnection[Any], today: datetime.date) -> None:
    for statement in partitions(today):
        await connection.execute(statement.encode())
