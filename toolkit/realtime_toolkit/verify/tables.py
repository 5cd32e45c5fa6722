"""The user's tables as the dynamic checks need them: columns, keys, foreign keys, checks, policies."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realtime_toolkit.verify.names import parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from realtime_toolkit.verify.session import Connection

_QUERY = Path(__file__).resolve().with_name("tables.sql")
USERS = "auth.users"


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: str
    """As ``format_type`` writes it, to cast literals: ``character varying(40)``, ``public.state``."""
    base: str
    """The type under domains, without modifiers: ``text``, ``integer[]``, ``public.state``."""
    kind: str
    """``pg_type.typtype`` of it: b base, e enum, c composite, r range, m multirange."""
    labels: tuple[str, ...]
    length: int | None
    """Of ``varchar(n)``, ``char(n)``, ``bit(n)``, ``vector(n)``; of a composite type how many fields it has."""
    not_null: bool
    default: str | None
    generated: bool
    """By an expression, or ``generated always as identity``: a client cannot write it."""
    identity: bool
    """``generated … as identity``."""

    @property
    def required(self) -> bool:
        return self.not_null and self.default is None and not self.generated


@dataclass(frozen=True, slots=True)
class ForeignKey:
    columns: tuple[str, ...]
    target: str
    target_columns: tuple[str, ...]
    deferrable: bool = False


@dataclass(frozen=True, slots=True)
class Unique:
    """A unique index or an exclusion constraint."""

    name: str
    columns: tuple[str, ...]
    """Those inside of expressions and conditions, too."""
    plain: bool = True
    """Unique in these very columns, without an expression or condition."""


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    columns: tuple[str, ...]
    definition: str


@dataclass(frozen=True, slots=True)
class Partition:
    parent: str
    columns: tuple[str, ...]
    """By which the parent is divided; none where that is an expression."""
    bound: str
    """``FOR VALUES …`` or ``DEFAULT``."""


@dataclass(frozen=True, slots=True)
class Policy:
    name: str
    command: str
    """``pg_policy.polcmd``: r, a, w, d or *."""
    permissive: bool
    text: str
    """USING and WITH CHECK, deparsed."""
    functions: Mapping[str, str]
    """Functions it calls, ``schema.name`` → body; not those of Postgres."""
    roles: frozenset[str] = frozenset()
    """Of ``anon`` and ``authenticated``, those it holds for."""
    using: str | None = None
    check: str | None = None
    personal: bool = False
    """Its answer depends on who asks; the role alone is not an identity."""

    def speaks(self, command: str, role: str) -> bool:
        """Whether it has a say when this role does this: ``command`` is one of ``pg_policy.polcmd``'s letters."""
        return self.command in (command, "*") and role in self.roles


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    """Schema-qualified and quoted where needed, as ``regclass`` writes it."""
    kind: str
    published: bool
    rls: bool
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    identity: tuple[str, ...]
    identity_kind: str
    uniques: tuple[Unique, ...]
    foreign_keys: tuple[ForeignKey, ...]
    checks: tuple[Check, ...]
    policies: tuple[Policy, ...]
    partitions: tuple[Partition, ...]
    """What it is a partition of, the nearest first."""
    public_read: frozenset[str]
    """Roles that see every row whoever asks."""
    personal_read: bool
    """Some policy for SELECT asks who is reading."""
    filter_columns: frozenset[str]
    """Columns by which reading is restricted."""
    reach: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """``anon`` and ``authenticated`` → the commands for which they hold some privilege, schema and table."""

    @property
    def partition_key(self) -> frozenset[str]:
        """Columns that say into which partition a row falls."""
        return frozenset(name for partition in self.partitions for name in partition.columns)

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


@dataclass(frozen=True, slots=True)
class Publication:
    insert: bool
    update: bool
    delete: bool


@dataclass(frozen=True, slots=True)
class Model:
    tables: Mapping[str, Table]
    publication: Publication | None
    has_messages: bool
    """Whether ``realtime.messages`` is there."""
    message_policies: tuple[Policy, ...]
    tracked: tuple[tuple[str, str, str], ...]
    """``(table, kind, scope column)``."""
    sequences: Mapping[str, int] = field(default_factory=dict)
    """Name → increment, of all schemas of the user's own."""
    support: Mapping[str, Table] = field(default_factory=dict)
    """Tables that are not the user's own, but that foreign keys lead to: auth.users, storage.objects, …"""
    metadata_readers: tuple[str, ...] = ()
    """Bodies of functions that read a user's metadata, and of the triggers of auth.users."""

    exposed: frozenset[str] | None = None
    """Schemas that PostgREST serves, where that is told; else all are judged that a client role may use."""

    @property
    def published(self) -> tuple[Table, ...]:
        return tuple(table for table in self.tables.values() if table.published and table.kind == "r")

    @property
    def reachable(self) -> tuple[Table, ...]:
        """What clients can get at: over REST, partitions and their roots by name, or by a subscription."""
        heard = frozenset(table.name for table in self.published)
        return tuple(t for t in self.tables.values() if t.name in heard or self._is_served(t))

    def _is_served(self, table: Table) -> bool:
        shown = self.exposed is None or parts(table.name)[0] in self.exposed
        return shown and any(table.reach.values())


def read_model(connection: Connection, facts: str) -> Model:
    """Read everything in one query, which ``facts`` (the relations of ``checks/_facts.sql``) goes before."""
    row = connection.execute(f"{facts}\n{_QUERY.read_text(encoding='utf-8')}".encode()).fetchone()
    assert row is not None
    data = json.loads(row[0])
    tables = {item["name"]: _table(item) for item in data["tables"] or ()}
    own = {item["name"] for item in data["tables"] or () if item["own"]}
    publication = data["publication"]
    return Model(
        {name: table for name, table in tables.items() if name in own},
        Publication(**publication) if publication else None,
        data["has_messages"],
        tuple(_policy(item) for item in data["message_policies"] or ()),
        tuple((item["relation"], item["kind"], item["scope_column"]) for item in data["tracked"] or ()),
        data["sequences"] or {},
        {name: table for name, table in tables.items() if name not in own},
        tuple(data["metadata_readers"] or ()),
    )


def _table(item: dict[str, Any]) -> Table:
    return Table(
        name=item["name"],
        kind=item["kind"],
        published=item["published"],
        rls=item["rls"],
        columns=tuple(Column(**{**c, "labels": tuple(c["labels"] or ())}) for c in item["columns"] or ()),
        key=tuple(item["key"] or ()),
        identity=tuple(item["identity"] or ()),
        identity_kind=item["identity_kind"],
        uniques=tuple(
            Unique(u["name"], tuple(u["columns"] or ()), u["plain"]) for u in item["uniques"] or ()
        ),
        foreign_keys=tuple(
            ForeignKey(tuple(f["columns"]), f["target"], tuple(f["target_columns"]), f["deferrable"])
            for f in item["foreign_keys"] or ()
        ),
        checks=tuple(
            Check(c["name"], tuple(c["columns"] or ()), c["definition"]) for c in item["checks"] or ()
        ),
        policies=tuple(_policy(p) for p in item["policies"] or ()),
        partitions=tuple(
            Partition(p["parent"], tuple(p["columns"] or ()), p["bound"]) for p in item["partitions"] or ()
        ),
        public_read=frozenset(item["public_read"] or ()),
        personal_read=item["personal_read"],
        filter_columns=frozenset(item["filter_columns"] or ()),
        reach={role: frozenset(commands) for role, commands in (item["reach"] or {}).items()},
    )


def _policy(item: dict[str, Any]) -> Policy:
    functions = {f["name"]: f["body"] or "" for f in item["functions"] or ()}
    return Policy(
        item["name"],
        item["command"],
        item["permissive"],
        item["text"],
        functions,
        frozenset(item.get("roles") or ()),
        item.get("using"),
        item.get("check"),
        item.get("personal", False),
    )


def in_dependency_order(tables: Iterable[Table]) -> list[Table]:
    """Tables after those that their foreign keys point to; a circle is cut where a column may be null, if it can be."""
    by_name = {table.name: table for table in tables}
    needed = {name: frozenset(_targets(table, needed=True)) for name, table in by_name.items()}
    done: dict[str, None] = {}

    def visit(name: str, above: frozenset[str]) -> None:
        if name in done or name in above or name not in by_name:
            return
        for target in sorted(needed[name]):
            visit(target, above | {name})
        for target in sorted(frozenset(_targets(by_name[name], needed=False)) - needed[name]):
            if not _leads(needed, target, name):
                visit(target, above | {name})
        done[name] = None

    for name in sorted(by_name):
        visit(name, frozenset())
    return [by_name[name] for name in done]


def _targets(table: Table, *, needed: bool) -> Iterator[str]:
    for key in table.foreign_keys:
        required = all(table.column(name).not_null for name in key.columns) and not key.deferrable
        if required or not needed:
            yield key.target


def _leads(needed: Mapping[str, frozenset[str]], start: str, end: str) -> bool:
    """Whether foreign keys that must be filled lead from one table to the other."""
    found, grew = {start}, True
    while grew:
        more = {target for name in found for target in needed.get(name, ())} - found
        found |= more
        grew = bool(more)
    return end in found


def hanging_on(tables: Mapping[str, Table], name: str) -> frozenset[str]:
    """Tables whose rows refer to those of this one, directly or through others."""
    found: set[str] = set()
    grew = True
    while grew:
        more = {
            table.name
            for table in tables.values()
            if table.name not in found and any(key.target in found | {name} for key in table.foreign_keys)
        } - {name}
        found |= more
        grew = bool(more)
    return frozenset(found)
