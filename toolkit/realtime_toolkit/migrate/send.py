"""Statements to the server, many at a time: one message each, as the Supabase CLI sends them, one wait for all.

In a transaction of the caller's. What cannot go with the others goes for itself: COPY with its rows, what only
running tells whether it can be in a transaction at all (within a savepoint), what is left out.
"""

from __future__ import annotations

from contextlib import nullcontext
from itertools import takewhile
from typing import TYPE_CHECKING

import psycopg
from psycopg import errors as pg

from realtime_toolkit.migrate.dumped import left_out
from realtime_toolkit.migrate.sqlsplit import significant
from realtime_toolkit.migrate.units import copied, may_refuse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg.rows import TupleRow

    from realtime_toolkit.migrate.session import Connection, Notice
    from realtime_toolkit.migrate.sqlsplit import Statement

    _Cursors = list[psycopg.Cursor[TupleRow]]

ONLY_OUTSIDE = (pg.ActiveSqlTransaction, pg.InvalidTransactionTermination)
"""How Postgres refuses what must run outside a transaction: VACUUM and its like, a procedure that commits."""

_AT_ONCE = 500
_BYTES_AT_ONCE = 1 << 20


class Failed(Exception):
    """A statement failed: its number among those that were to be sent, and the database's error."""

    def __init__(self, number: int, error: psycopg.Error) -> None:
        super().__init__(str(error))
        self.number, self.error = number, error


def send(
    connection: Connection, statements: Sequence[Statement], notice: Notice, *, strict: bool = False
) -> int:
    """Run statements in order; how many have run: fewer than there are where the next cannot be in a transaction.

    Raises :class:`Failed`; ``strict`` for that, too.
    """
    number = 0
    spare: _Cursors = []  # making one takes longer than sending a statement
    while number < len(statements):
        several = _several(statements, number)
        if several:
            _pipelined(connection, several, number, spare)
            number += len(several)
            continue
        try:
            _single(connection, statements[number], notice, strict=strict)
        except psycopg.Error as error:
            if isinstance(error, ONLY_OUTSIDE) and not strict:
                return number
            raise Failed(number, error) from None
        number += 1
    return number


def _several(statements: Sequence[Statement], begin: int) -> list[Statement]:
    """Those from ``begin`` on that can go together."""
    room = _BYTES_AT_ONCE

    def fits(statement: Statement) -> bool:
        nonlocal room
        room -= len(statement.text)
        return not _is_single(statement) and room + len(statement.text) > 0

    return list(takewhile(fits, statements[begin : begin + _AT_ONCE]))


def _is_single(statement: Statement) -> bool:
    return statement.head in _SINGLE and (
        statement.head == "copy" or may_refuse(statement) or left_out(statement) is not None
    )


_SINGLE = frozenset({"copy", "call", "do", "create", "alter", "drop", "set"})


def _pipelined(connection: Connection, statements: Sequence[Statement], first: int, spare: _Cursors) -> None:
    spare += [connection.cursor() for _ in range(len(statements) - len(spare))]
    try:
        with connection.pipeline() if _worth_a_pipeline(statements) else nullcontext():
            for cursor, statement in zip(spare, statements, strict=False):
                cursor.execute(statement.sql.encode())
    except psycopg.Error as error:
        failed = next((n for n, cursor in enumerate(spare) if cursor.pgresult is None), len(statements) - 1)
        raise Failed(first + failed, error) from None


def _worth_a_pipeline(statements: Sequence[Statement]) -> bool:
    return len(statements) > 1 and psycopg.Pipeline.is_supported()


def _single(connection: Connection, statement: Statement, notice: Notice, *, strict: bool) -> None:
    reason = left_out(statement)
    if reason is not None and reason.holds(connection):
        notice(f"left out: {reason.text}")
    elif statement.head == "copy":
        _copy(connection, statement)
    else:
        with (
            nullcontext() if strict else connection.transaction()
        ):  # a savepoint, so that what ran before stays
            connection.execute(statement.sql.encode())


def _copy(connection: Connection, statement: Statement) -> None:
    """As psql does: the rows that follow are sent; rows that come are dropped."""
    with connection.cursor() as cursor:
        if statement.data is None and not _to_stdout(statement):
            cursor.execute(statement.sql.encode())
            return
        with cursor.copy(statement.sql.encode()) as copy:
            if statement.data is None:
                for _ in copy:
                    pass
                return
            rows = copied(statement).text
            for at in range(0, len(rows), _BYTES_AT_ONCE):
                copy.write(rows[at : at + _BYTES_AT_ONCE].encode())


def _to_stdout(statement: Statement) -> bool:
    return " to stdout" in significant(statement.code)
