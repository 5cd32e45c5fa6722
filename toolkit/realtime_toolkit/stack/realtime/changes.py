"""From the WAL to the channels: batches of changes, who subscribed to what, and who may see it.

Channels that would get the very same bytes (same topic, protocol version, bindings, role and claims)
form a group: a change is rendered once, framed once, and a group's frames of one batch are joined once.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from realtime_toolkit import phoenix
from realtime_toolkit.phoenix import Vsn
from realtime_toolkit.stack.realtime import catalog, rows
from realtime_toolkit.stack.realtime.access import ask, ask_settled, visible_sql
from realtime_toolkit.stack.realtime.framing import text_frame
from realtime_toolkit.stack.realtime.generated import Generator
from realtime_toolkit.stack.realtime.rows import Layout, Row, Shape
from realtime_toolkit.stack.realtime.values import text_of
from realtime_toolkit.wal import decoder as wal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from psycopg import AsyncConnection

    from realtime_toolkit.stack.realtime.access import Condition, Reader
    from realtime_toolkit.stack.realtime.bindings import Filter
    from realtime_toolkit.stack.realtime.catalog import Table
    from realtime_toolkit.stack.realtime.subscriptions import Subscription

log = logging.getLogger("realtime_toolkit.stack.realtime")

_CATALOG_TTL = 1.0
"""Seconds after which even an unannounced change of the catalogue (of a role's memberships) is seen."""

C = TypeVar("C")
"""A subscriber: only its identity matters here."""

Bound = tuple[int, "Subscription"]
"""A binding's id and one of the tables it covers."""


@dataclass(frozen=True, slots=True)
class GroupKey:
    topic: str
    vsn: Vsn
    new_api: bool
    reader: Reader
    bindings: str
    """JSON of the bindings as the client sent them."""
    oids: tuple[int, ...]


@dataclass(slots=True, eq=False)
class Group(Generic[C]):
    key: GroupKey
    bound: dict[int, list[Bound]]
    members: dict[C, None] = field(default_factory=dict)


class ChangeFeed(Generic[C]):
    """Groups of subscribers, and :meth:`process`, which tells them of a batch of changes."""

    def __init__(self, max_record_bytes: int) -> None:
        self.distort: Callable[[list[Row]], None] | None = None
        """Spoils rows before anybody gets them (for faults)."""
        self.announced = False
        """Whether changes of the catalogue are announced in the WAL."""
        self.published: frozenset[int] = frozenset()
        """Tables of which changes are wanted, if ``announced``."""
        self._max_record_bytes = max_record_bytes
        self._groups: dict[GroupKey, Group[C]] = {}
        self._of_channel: dict[C, Group[C]] = {}
        self._by_oid: dict[int, dict[Group[C], None]] = {}
        self._tables: dict[int, Table] = {}
        self._read_at = 0.0
        self._layouts: dict[int, Layout] = {}
        self._generator = Generator()
        self._shapes: dict[tuple[int, frozenset[str]], Shape] = {}

    # --- subscribers ------------------------------------------------------------------------------

    def subscribe(self, channel: C, key: GroupKey, bound: Iterable[Bound]) -> None:
        """Put the channel into the group of its like, instead of the one it was in."""
        group = self._groups.get(key)
        if group is not None and channel in group.members:
            return
        self.unsubscribe(channel)
        group = self._groups.get(key)
        if group is None:
            by_oid: dict[int, list[Bound]] = {}
            for id_, subscription in bound:
                by_oid.setdefault(subscription.oid, []).append((id_, subscription))
            group = self._groups[key] = Group(key, by_oid)
            for oid in by_oid:
                self._by_oid.setdefault(oid, {})[group] = None
            self.forget_catalog()  # a new role may want to know what it may select
        group.members[channel] = None
        self._of_channel[channel] = group

    def unsubscribe(self, channel: C) -> None:
        group = self._of_channel.pop(channel, None)
        if group is None:
            return
        group.members.pop(channel, None)
        if not group.members:
            del self._groups[group.key]
            for oid in group.bound:
                self._by_oid[oid].pop(group, None)
                if not self._by_oid[oid]:
                    del self._by_oid[oid]

    def subscribers(self) -> list[C]:
        return list(self._of_channel)

    def forget_catalog(self) -> None:
        self._read_at = 0.0

    # --- changes ----------------------------------------------------------------------------------

    def wanted(self, items: Iterable[wal.RowChange | wal.LogicalMessage]) -> list[wal.RowChange]:
        oids = self._by_oid.keys() & self.published if self.announced else self._by_oid.keys()
        return [item for item in items if isinstance(item, wal.RowChange) and item.relation.oid in oids]

    async def process(
        self, connection: AsyncConnection[Any], changes: list[wal.RowChange]
    ) -> list[tuple[list[C], list[bytes]]]:
        """Frames in order, and to whom, as it was when the batch came. Raises :class:`psycopg.Error` where
        a policy raises."""
        await self._read_catalog(connection, {change.relation.oid for change in changes})
        changes = await self._generator.complete(connection, changes, self._tables)
        batch = await self._render(connection, changes)
        if self.distort is not None:
            self.distort(batch)
        groups = {group: list(group.members) for oid in _oids(batch) for group in self._by_oid.get(oid, ())}
        matches = await _Filters(batch, groups).decide(connection)
        seen = await _visible(connection, batch, groups, matches, {change.xid for change in changes})
        frames = _Frames(self._shape)
        return [(members, frames.of(group, batch, matches, seen)) for group, members in groups.items()]

    async def _read_catalog(self, connection: AsyncConnection[Any], oids: set[int]) -> None:
        now = time.monotonic()
        stale = now - self._read_at > _CATALOG_TTL or not self.announced
        if not stale and oids <= self._tables.keys():
            return
        roles = {group.key.reader.role for group in self._groups.values()}
        wanted = oids | self._by_oid.keys()
        fresh = await catalog.tables(connection, wanted, roles)
        if fresh != self._tables:
            self._tables = fresh
            self._layouts.clear()
            self._shapes.clear()
        self._read_at = now

    async def _render(self, connection: AsyncConnection[Any], changes: list[wal.RowChange]) -> list[Row]:
        pending: list[rows.Pending] = []
        batch = []
        for change in changes:
            layout = self._layout(change.relation)
            if layout is not None:
                batch.append(layout.row(change, pending, self._max_record_bytes))
        if pending:
            await rows.render_pending(connection, pending)
        return batch

    def _layout(self, relation: wal.Relation) -> Layout | None:
        layout = self._layouts.get(relation.oid)
        if layout is None or layout.relation is not relation:
            table = self._tables.get(relation.oid)
            if table is None:  # dropped since
                return None
            layout = self._layouts[relation.oid] = Layout(relation, table)
        return layout

    def _shape(self, table: Table, role: str, select: frozenset[str] | None) -> Shape:
        visible = table.selectable.get(role, frozenset())
        if select is not None:
            visible &= select | set(table.key)
        shape = self._shapes.get((table.oid, visible))
        if shape is None:
            shape = self._shapes[table.oid, visible] = Shape(table, visible)
        return shape


def _oids(batch: list[Row]) -> list[int]:
    return list(dict.fromkeys(row.table.oid for row in batch))


def error_of(row: Row, role: str) -> str | None:
    """Why nothing of the row may be shown to the role, whatever its filters and policies say."""
    if row.error is not None:
        return row.error
    if row.kind == "DELETE":
        return None
    if not row.table.key:
        return rows.NO_KEY
    if not row.table.selectable.get(role, frozenset()).issuperset(row.table.key):
        return rows.UNAUTHORIZED
    return None


def _wants(subscription: Subscription, row: Row) -> bool:
    return subscription.oid == row.table.oid and subscription.action in ("*", row.kind)


# --- filters --------------------------------------------------------------------------------------


class _Filters:
    """Which rows fulfil which filters: in Python where it can be, else one round trip for all."""

    def __init__(self, batch: list[Row], groups: Iterable[Group[Any]]) -> None:
        self._batch = batch
        self._conditions: dict[tuple[int, Filter], Condition] = {
            (oid, condition.filter): condition
            for group in groups
            for oid, bound in group.bound.items()
            for _, subscription in bound
            for condition in subscription.conditions
        }
        self._fulfilled: dict[tuple[int, Filter], set[int]] = {}

    async def decide(self, connection: AsyncConnection[Any]) -> _Filters:
        questions: list[str] = []
        asked: list[tuple[tuple[int, Filter], list[int]]] = []
        for key, condition in self._conditions.items():
            texts = self._texts(key[0], condition)
            if condition.test is not None:
                self._fulfilled[key] = {index for index, text in texts if condition.test(text)}
            elif known := [(index, text) for index, text in texts if text is not None]:
                questions.append(condition.sql([text for _, text in known]))
                asked.append((key, [index for index, _ in known]))
        answers = await ask(connection, questions)
        for (key, indexes), answer in zip(asked, answers, strict=True):
            self._fulfilled[key] = {indexes[position] for position in answer}
        return self

    def _texts(self, oid: int, condition: Condition) -> list[tuple[int, str | None]]:
        """Values of the condition's column; a row without it (not in the WAL) fulfils nothing."""
        name = condition.column.name
        found = []
        for index, row in enumerate(self._batch):
            if row.table.oid == oid:
                values = row.old if row.kind == "DELETE" else row.record
                if name in values:
                    found.append((index, text_of(values[name])))
        return found

    def pass_(self, index: int, subscription: Subscription) -> bool:
        return all(
            index in self._fulfilled.get((subscription.oid, condition.filter), ())
            for condition in subscription.conditions
        )


async def _visible(
    connection: AsyncConnection[Any],
    batch: list[Row],
    groups: Iterable[Group[Any]],
    matches: _Filters,
    xids: set[int],
) -> dict[Reader, set[int]]:
    """Rows that policies let each reader see, of those that it would get and that have policies.

    Waits for the commits even if no policy is asked: who is told of a change may look at once.
    """
    candidates: dict[tuple[Reader, int], list[int]] = {}
    for group in groups:
        reader = group.key.reader
        for index, row in enumerate(batch):
            if not row.table.rls or row.kind == "DELETE" or error_of(row, reader.role):
                continue
            bound = group.bound.get(row.table.oid, ())
            if any(_wants(s, row) and matches.pass_(index, s) for _, s in bound):
                candidates.setdefault((reader, row.table.oid), []).append(index)
    unique = {key: sorted(set(indexes)) for key, indexes in candidates.items()}
    questions = [
        visible_sql(reader, batch[indexes[0]].table, rows.keys_of(batch[index] for index in indexes))
        for (reader, _), indexes in unique.items()
    ]
    answers = await ask_settled(connection, xids, questions)
    seen: dict[Reader, set[int]] = {}
    for ((reader, _), indexes), answer in zip(unique.items(), answers, strict=True):
        seen.setdefault(reader, set()).update(indexes[position] for position in answer)
    return seen


# --- frames ---------------------------------------------------------------------------------------


class _Frames:
    """Frames of one batch; each is made once for all groups that get the same."""

    def __init__(self, shape: Any) -> None:
        self._shape = shape
        self._data: dict[tuple[int, Any], bytes] = {}
        self._frames: dict[tuple[int, Any, str, Vsn, bool, tuple[int, ...]], bytes] = {}

    def of(
        self, group: Group[Any], batch: list[Row], matches: _Filters, seen: dict[Reader, set[int]]
    ) -> list[bytes]:
        reader = group.key.reader
        visible = seen.get(reader, set())
        frames: list[bytes] = []
        for index, row in enumerate(batch):
            bound = group.bound.get(row.table.oid)
            if bound is None:
                continue
            error = error_of(row, reader.role)
            open_ = error is not None or not row.table.rls or row.kind == "DELETE" or index in visible
            if not open_:
                continue
            by_select: dict[frozenset[str] | None, list[int]] = {}
            for id_, subscription in bound:
                if _wants(subscription, row) and (error is not None or matches.pass_(index, subscription)):
                    by_select.setdefault(subscription.select, []).append(id_)
            for select, ids in by_select.items():
                shape = error or self._shape(row.table, reader.role, select)
                frames.append(self._frame(group.key, index, row, shape, tuple(ids)))
        return frames

    def _frame(self, key: GroupKey, index: int, row: Row, shape: Any, ids: tuple[int, ...]) -> bytes:
        cached = (index, shape, key.topic, key.vsn, key.new_api, ids)
        frame = self._frames.get(cached)
        if frame is None:
            data = self._data.get((index, shape))
            if data is None:
                data = rows.refusal(row, shape) if isinstance(shape, str) else shape.data(row)
                self._data[index, shape] = data
            frame = self._frames[cached] = text_frame(envelope(key, row.kind, data, ids))
        return frame


def envelope(key: GroupKey, kind: str, data: bytes, ids: tuple[int, ...]) -> bytes:
    """The message around ``data``; the old API names the event after the change and has no ids."""
    topic = phoenix.dumps(key.topic).encode()
    event = b"postgres_changes" if key.new_api else kind.encode()
    payload = b'{"data":%s,"ids":%s}' % (data, phoenix.dumps(list(ids)).encode()) if key.new_api else data
    if key.vsn is Vsn.V2:
        return b'[null,null,%s,"%s",%s]' % (topic, event, payload)
    return b'{"ref":null,"event":"%s","payload":%s,"topic":%s}' % (event, payload, topic)
