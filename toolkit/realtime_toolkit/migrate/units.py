"""How a migration's statements are run: which belong together, and what no migration can contain. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from realtime_toolkit.errors import MigrationError
from realtime_toolkit.migrate.sqlsplit import significant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime_toolkit.migrate.files import Migration
    from realtime_toolkit.migrate.sqlsplit import Statement

DIRECTIVE = "-- realtime-toolkit: no-transaction"
_ID = r'(?:"(?:[^"]|"")+"|[^\s"]+)'
_INDEX = re.compile(
    rf"create (?:unique )?index concurrently (?:if not exists )?(?:(?!on )(?P<name>{_ID}) )?"
    rf"on (?:only )?(?P<table>{_ID}(?: \. {_ID})?)"
)


@dataclass(frozen=True, slots=True)
class Unit:
    """Statements that take effect together: numbers ``first`` up to, but not with, ``end``.

    ``explicit`` units stood between BEGIN and COMMIT in a no-transaction file.
    """

    first: int
    end: int
    statements: tuple[Statement, ...]
    explicit: bool = False


def transaction_word(statement: Statement) -> str | None:
    """``begin``, ``commit`` or ``other`` for a statement that steers the transaction; savepoints do not."""
    words = (*statement.words, "", "", "")
    if words[0] == "begin" or words[:2] == ("start", "transaction"):
        return "begin"
    if words[0] in ("commit", "end") and words[1] != "prepared":
        return "commit"
    if words[:2] == ("prepare", "transaction"):
        return "other"
    savepoint = "to" in words[1:3]
    return "other" if words[0] in ("rollback", "abort") and not savepoint else None


def units(migration: Migration) -> tuple[Unit, ...]:
    """The file cut into what commits together: one unit, or in a no-transaction file one per statement.

    BEGIN and COMMIT around a whole file, or around part of a no-transaction one, are left to the runner.
    Raises :class:`MigrationError` for what cannot be run as a migration.
    """
    _refuse_foreign(migration)
    found = _grouped(migration)
    if not migration.transactional:
        return found
    real = [unit for unit in found if any(statement.words for statement in unit.statements)]
    if any(unit.explicit for unit in found) and len(real) > 1:
        where = migration.statements[next(unit for unit in found if unit.explicit).first]
        raise MigrationError(
            f"{migration.file}:{where.line}: BEGIN and COMMIT around part of a file, which commits "
            f"as a whole: take them out, or let the file begin with {DIRECTIVE}"
        )
    inside = tuple(statement for unit in found for statement in unit.statements)
    return (Unit(0, len(migration.statements), inside),)


def _grouped(migration: Migration) -> tuple[Unit, ...]:
    found: list[Unit] = []
    begun: int | None = None
    for number, statement in enumerate(migration.statements):
        word = transaction_word(statement)
        if word == "begin" and begun is None:
            begun = number
        elif word == "commit" and begun is not None:
            found.append(Unit(begun, number + 1, migration.statements[begun + 1 : number], explicit=True))
            begun = None
        elif word is not None:
            raise MigrationError(
                f"{migration.file}:{statement.line}: {statement.words[0].upper()} does not fit here; "
                "the transaction is the runner's: take it out"
            )
        elif begun is None:
            found.append(Unit(number, number + 1, (statement,)))
    if begun is not None:
        line = migration.statements[begun].line
        raise MigrationError(f"{migration.file}:{line}: BEGIN without COMMIT; take it out")
    return tuple(found)


def _refuse_foreign(migration: Migration) -> None:
    for statement in migration.statements:
        where = f"{migration.file}:{statement.line}"
        text = statement.text.lower()
        if statement.words[:1] == ("copy",) and re.search(r"\b(from\s+stdin|to\s+stdout)\b", text):
            raise MigrationError(
                f"{where}: COPY between client and server is psql's; write INSERT statements"
            )
        if significant(statement.text).startswith("\\"):
            raise MigrationError(f"{where}: a backslash command is psql's, not SQL; take it out")
        index = concurrent_index(statement)
        if index is not None and index.name is None:
            raise MigrationError(f"{where}: give the index a name, so that an interrupted run can be resumed")


@dataclass(frozen=True, slots=True)
class ConcurrentIndex:
    """What CREATE INDEX CONCURRENTLY makes; names as SQL writes them."""

    name: str | None
    table: str


def concurrent_index(statement: Statement) -> ConcurrentIndex | None:
    if statement.words[:1] != ("create",) or "concurrently" not in statement.words[:4]:
        return None
    match = _INDEX.match(significant(statement.text))
    return None if match is None else ConcurrentIndex(match["name"], match["table"].replace(" . ", "."))


def session_settings(statements: Sequence[Statement]) -> list[Statement]:
    """Those that set something for the rest of the session, to be said again by a run that resumes."""
    return [s for s in statements if _sets(s)]


def _sets(statement: Statement) -> bool:
    words = (*statement.words, "", "")
    if words[0] in ("set", "reset"):
        return words[1] not in ("local", "transaction", "constraints")
    return words[0] == "select" and "set_config" in words
