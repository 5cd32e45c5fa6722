"""The private-channel matrix: who may read and write which topic, by Realtime's own authorization.

Reading: probe rows for both extensions are inserted as the server, then selected as the user, with ``role``,
``realtime.topic`` and ``request.jwt.claims`` set; writing: the user inserts. Everything is rolled back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from realtime_toolkit.verify.access import Whose
from realtime_toolkit.verify.probing import ROLES, Answer, Result, actor, attempt
from realtime_toolkit.verify.seeding import Who

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from realtime_toolkit.verify.config import Config
    from realtime_toolkit.verify.ownership import Belonging
    from realtime_toolkit.verify.probing import Actor
    from realtime_toolkit.verify.seeding import World
    from realtime_toolkit.verify.session import Connection
    from realtime_toolkit.verify.tables import Model

EXTENSIONS = ("broadcast", "presence")
UNKNOWN = "toolkit-probe:nobody-asks-for-this"
_PREFIX = re.compile(r"'([^'%]{1,60}[:/_.\-])%?'")
_WHOLE = re.compile(r"(?:topic\(\)|\btopic)[\s)]*(?:AS topic\s*\)\s*)?=\s*'([^']{1,100})'")
_MOST = 200


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as policies mean it: a text, or a prefix and a column of somebody's row."""

    pattern: str
    """``room:{public.rooms.id}`` for reports: never a value."""
    names: tuple[tuple[Who, str], ...]
    """Whose topic it is, and its name; a topic that is everybody's has one name."""


@dataclass(frozen=True, slots=True)
class ChannelCell:
    topic: str
    role: str
    whose: Whose
    extension: str
    action: str
    """``read`` or ``write``."""
    result: Result


@dataclass(frozen=True, slots=True)
class Message:
    """What ``realtime.send`` has stored."""

    id: Any
    topic: str
    private: bool
    payload: Any


def messages(connection: Connection, before: Sequence[Message] = ()) -> list[Message]:
    """Broadcasts stored in this transaction, but for those that were there ``before``."""
    query = (
        "select id, topic, private, payload from realtime.messages "
        "where extension = 'broadcast' and inserted_at >= now()::timestamp and id <> all (%s::uuid[])"
    )
    found = connection.execute(query, ([message.id for message in before],)).fetchall()
    return [Message(*row) for row in found]


def find_topics(model: Model, belonging: Belonging, world: World, config: Config) -> list[Topic]:
    """Topics that the policies speak of, those of tracked kinds, and those that were told."""
    texts = [policy.text for policy in model.message_policies]
    texts += [body for policy in model.message_policies for body in policy.functions.values()]
    prefixes = sorted({match for text in texts for match in _PREFIX.findall(text)})
    topics = [Topic(whole, ((Who.NOBODY, whole),)) for text in texts for whole in _WHOLE.findall(text)]
    for name, kind, column in model.tracked:
        topics += _of_column(f"{kind}:", name, column, world, belonging)
    for prefix in prefixes:
        for table, column in _named_by(model):
            if len(topics) < _MOST:
                topics += _of_column(prefix, table, column, world, belonging)
        topics.append(_of_user(prefix + "{user}"))
    topics += [_of_user(told) for told in config.topics]
    return list({topic.names: topic for topic in reversed(topics)}.values())[::-1]


def _named_by(model: Model) -> list[tuple[str, str]]:
    """Columns whose values a topic may end in, keys first."""
    found = [
        (column.name not in table.key, table.name, column.name)
        for table in model.tables.values()
        for column in table.columns
        if column.base in ("uuid", "integer", "bigint", "text", "character varying")
    ]
    return [(table, column) for _, table, column in sorted(found)]


def _of_user(pattern: str) -> Topic:
    names = (
        (who, pattern.replace("{user}", who.user_id).replace("{tenant}", f"tenant-{who.tenant}"))
        for who in (Who.ALICE, Who.MALLORY)
    )
    return Topic(pattern, tuple(names))


def _of_column(prefix: str, table: str, column: str, world: World, belonging: Belonging) -> list[Topic]:
    names = []
    with_bob = table in belonging.shared & belonging.personal
    for who in (Who.ALICE, Who.BOB, Who.MALLORY) if with_bob else (Who.ALICE, Who.MALLORY):
        value = (world.rows.get((table, who)) or {}).get(column)
        if value is not None:
            names.append((who, prefix + value))
    distinct = len({name for _, name in names}) > 1
    return [Topic(f"{prefix}{{{table}.{column}}}", tuple(names))] if distinct else []


class Channels:
    def __init__(self, connection: Connection, belonging: Belonging, world: World, config: Config) -> None:
        self._connection = connection
        self._actors = {role: actor(role, Who.ALICE, world, belonging, config) for role in ROLES}

    def joins(self, role: str, topic: str) -> Result:
        """Whether Alice, in that role, may join this private topic to listen, as things are now."""
        return self._read(self._actors[role], topic, "broadcast")

    def anybody_joins(self, people: Iterable[Actor], topic: str) -> bool:
        return any(self._read(person, topic, "broadcast").answer is Answer.ALLOW for person in people)

    def cells(self, topics: list[Topic]) -> Iterator[ChannelCell]:
        """The matrix of the topics that somebody may use; one that nobody asks for is always in it."""
        for topic in topics:
            cells = list(self._topic(topic))
            told = {Answer.ALLOW, Answer.RAISES} if topic.names[0][0] is Who.NOBODY else {Answer.ALLOW}
            if any(c.result.answer in told and c.role != "service_role" for c in cells):
                yield from cells
        yield from self._topic(Topic("(any other topic)", ((Who.NOBODY, UNKNOWN),)))

    def _topic(self, topic: Topic) -> Iterator[ChannelCell]:
        for who, name in topic.names:
            whose = {
                Who.ALICE: Whose.OWN, Who.BOB: Whose.SAME_TENANT, Who.MALLORY: Whose.OTHER_TENANT, Who.NOBODY: Whose.OWNERLESS,
            }[who]  # fmt: skip
            if who is Who.BOB and any(w is Who.ALICE and n == name for w, n in topic.names):
                continue
            for role, person in self._actors.items():
                for extension in EXTENSIONS:
                    read = self._read(person, name, extension)
                    yield ChannelCell(topic.pattern, role, whose, extension, "read", read)
                    write = self._write(person, name, extension)
                    yield ChannelCell(topic.pattern, role, whose, extension, "write", write)

    def _read(self, person: Actor, topic: str, extension: str) -> Result:
        probe = sql.SQL("insert into realtime.messages (topic, extension) values ({}, {})")
        look = sql.SQL("select from realtime.messages where topic = {} and extension = {}")
        return attempt(
            self._connection,
            person,
            look.format(sql.Literal(topic), sql.Literal(extension)),
            before=[probe.format(sql.Literal(topic), sql.Literal(e)) for e in EXTENSIONS],
            topic=topic,
        )

    def _write(self, person: Actor, topic: str, extension: str) -> Result:
        statement = sql.SQL("insert into realtime.messages (topic, extension) values ({}, {})")
        return attempt(
            self._connection,
            person,
            statement.format(sql.Literal(topic), sql.Literal(extension)),
            topic=topic,
        )
