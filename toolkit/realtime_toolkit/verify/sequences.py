"""Sequences, whose numbers no rollback gives back, kept where they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from realtime_toolkit.verify.session import Connection


def hold(connection: Connection, sequences: Mapping[str, int]) -> tuple[str, ...]:
    """Let the transaction's rollback undo ``nextval`` too; returns the sequences for which that cannot be had.

    ``sequences`` are names and their increments. ALTER SEQUENCE, unlike ``nextval`` and ``setval``, is transactional:
    it gives the sequence a new file that the rollback throws away, with all that was taken from it. Until then others
    wait for their next number, so this is for databases that nobody else works on.
    """
    connection.execute("set local lock_timeout = '200ms'")
    return tuple(name for name, increment in sequences.items() if not _held(connection, name, increment))


def _held(connection: Connection, name: str, increment: int) -> bool:
    as_it_is = sql.SQL("alter sequence {} increment by {}").format(sql.SQL(name), sql.Literal(increment))
    try:
        with connection.transaction():
            connection.execute(as_it_is)
    except (psycopg.errors.LockNotAvailable, psycopg.errors.InsufficientPrivilege):
        return False
    return True


def restarts(connection: Connection, sequences: Mapping[str, int]) -> Iterator[str]:
    """Statements that put sequences where they are now, so that the next default is no key of a row spelled out."""
    for name, increment in sequences.items():
        look = sql.SQL("select last_value + {} from {} where is_called").format(
            sql.Literal(increment), sql.SQL(name)
        )
        row = connection.execute(look).fetchone()
        if row is not None:
            yield f"alter sequence {name} restart with {row[0]}"
