"""Changes of one row, one right after the other, and what it was like in between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from realtime_toolkit.verify.probing import identity, sqlstate_of, together, undone
from realtime_toolkit.verify.seeding import relation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from decimal import Decimal

    from realtime_toolkit.verify.probing import Actor, Statement
    from realtime_toolkit.verify.session import Connection
    from realtime_toolkit.verify.tables import Column, Table

_OURSELVES = sql.SQL("select set_config('role', 'none', true), set_config('request.jwt.claims', '', true)")


@dataclass(frozen=True, slots=True)
class Look:
    """The row at one moment."""

    kept: Mapping[str, Decimal | None]
    """The columns that tell changes; times as seconds of the epoch."""
    values: Mapping[str, str | None]
    """The others, as text."""
    now: Decimal
    """The clock, as seconds of the epoch."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The row before and after each change, and how many rows each reached."""

    looks: tuple[Look, ...]
    counts: tuple[int, ...]

    def landed(self, column: str, step: int = 1) -> bool:
        """Whether the change of that number (1, 2 …) is there; not where fewer were made."""
        if step > len(self.counts) or not self.counts[step - 1]:
            return False
        return self.looks[step].values[column] != self.looks[step - 1].values[column]

    def did_nothing(self, step: int) -> bool:
        """Whether that change reached no row, or left it as it was but for what is kept."""
        if step > len(self.counts):
            return False
        return not self.counts[step - 1] or self.looks[step].values == self.looks[step - 1].values


class Editor:
    """Makes changes of one row and undoes them."""

    def __init__(
        self, connection: Connection, table: Table, where: Statement, kept: Sequence[Column]
    ) -> None:
        self._connection = connection
        self._table = table
        self._where = where
        self._kept = [column.name for column in kept]
        self._times = [column.name for column in kept if column.base.startswith("timestamp")]
        self._others = [c.name for c in table.columns if c.name not in self._kept]
        self.refused = ""
        """SQLSTATE of the last statement that was."""
        self._older = self._made_older()

    def update(self, values: Mapping[str, sql.Composable]) -> Statement:
        assignments = [sql.SQL("{} = {}").format(sql.Identifier(c), v) for c, v in values.items()]
        listed = sql.SQL(", ").join(assignments)
        return sql.SQL("update {} set {} where {}").format(relation(self._table), listed, self._where)

    def upsert(self, row: Mapping[str, sql.Composable], column: str) -> Statement:
        """The row inserted again, as PostgREST does it: on conflict with itself that column is set."""
        return sql.SQL(
            "insert into {} ({}) overriding system value values ({}) on conflict ({}) do update set {} = excluded.{}"
        ).format(
            relation(self._table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(row.values()),
            sql.SQL(", ").join(map(sql.Identifier, self._table.key)),
            sql.Identifier(column),
            sql.Identifier(column),
        )

    def made(self, person: Actor | None, *statements: Statement) -> Seen | None:
        """The statements as that person, in one round trip; ``None`` where one of them raises."""
        batch: list[Statement] = [*self._older, self._look()]
        places = []
        for statement in statements:
            batch += [identity(person)] if person else []
            places.append(len(batch))
            batch += [statement, *([_OURSELVES] if person else []), self._look()]
        with undone(self._connection):
            try:
                return self._read(self._connection.execute(sql.SQL("; ").join(batch)), places, len(batch))
            except psycopg.Error as error:
                self.refused = sqlstate_of(error)
                return None

    def inserted(
        self, person: Actor, before: Sequence[Statement], statement: Statement, condition: Statement
    ) -> bool:
        """Whether this INSERT leaves one more row of which the condition holds."""
        count = sql.SQL("select count(*) from {} where {}").format(relation(self._table), condition)
        with undone(self._connection):
            try:
                together(self._connection, (*before, sql.SQL("select 1")))
                there = self._connection.execute(count).fetchone()
                together(self._connection, (identity(person), statement, _OURSELVES))
                return self._connection.execute(count).fetchone() != there
            except psycopg.Error as error:
                sqlstate_of(error)
                return False

    def _look(self) -> Statement:
        kept = [
            sql.SQL("extract(epoch from {})" if name in self._times else "{}::numeric").format(
                sql.Identifier(name)
            )
            for name in self._kept
        ]
        others = [sql.SQL("{}::text").format(sql.Identifier(name)) for name in self._others]
        clock = sql.SQL("extract(epoch from clock_timestamp()) as now")
        return sql.SQL("select {} from {} where {}").format(
            sql.SQL(", ").join([clock, *kept, *others]), relation(self._table), self._where
        )

    def _read(self, cursor: psycopg.Cursor[Any], places: Sequence[int], length: int) -> Seen | None:
        looks: list[Look] = []
        counts: list[int] = []
        for place in range(length):
            if place in places:
                counts.append(cursor.rowcount)
            elif cursor.description is not None and cursor.description[0].name == "now":
                row = cursor.fetchone()
                if row is None:
                    return None
                looks.append(self._looked(row))
            cursor.nextset()
        return Seen(tuple(looks), tuple(counts))

    def _looked(self, row: Sequence[Any]) -> Look:
        now, *rest = row
        kept, others = rest[: len(self._kept)], rest[len(self._kept) :]
        return Look(
            dict(zip(self._kept, kept, strict=True)), dict(zip(self._others, others, strict=True)), now
        )

    def _made_older(self) -> tuple[Statement, ...]:
        """Statements by which no trigger or throttle takes the row for one of this moment, where we may do that."""
        statements = tuple(self._steps_back())
        with undone(self._connection):
            try:
                together(self._connection, statements or (sql.SQL("select 1"),))
            except psycopg.Error as error:
                sqlstate_of(error)
                return ()
        return statements

    def _steps_back(self) -> Iterator[Statement]:
        if self._times:
            yield sql.SQL("set local session_replication_role = 'replica'")
            yield self.update(
                {name: sql.SQL("now() - interval '1 day'") for name in self._times}
            )  # not its own, which may be in the future
            yield sql.SQL("set local session_replication_role = 'origin'")
