"""How a migration's statements are run: which take effect together, and what no migration can contain. Pure.

What `supabase db push` 3.1.0 does (measured; tests/integration/test_migrate_interop.py holds it): a file
without BEGIN, COMMIT and their like is one transaction, but for statements that cannot be in one, which
run between two; a file with any of these runs statement by statement, each for itself outside of its
blocks. The same end states are reached here, where a run that fails half-way knows what it has done.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from realtime_toolkit.errors import MigrationError
from realtime_toolkit.migrate.sqlsplit import significant

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from realtime_toolkit.migrate.files import Migration
    from realtime_toolkit.migrate.sqlsplit import Statement

DIRECTIVE = "-- realtime-toolkit: no-transaction"
_ID = r'(?:"(?:[^"]|"")+"|[^\s"]+)'
_INDEX = re.compile(
    rf"create (?:unique )?index concurrently (?:if not exists )?(?:(?!on )(?P<name>{_ID}) )?"
    rf"on (?:only )?(?P<table>{_ID}(?: \. {_ID})?)"
)


class How(Enum):
    TOGETHER = "in one transaction"
    UNDONE = "in one transaction that is rolled back"
    OUTSIDE = "outside a transaction"


@dataclass(frozen=True, slots=True)
class Unit:
    """Statements that take effect together: numbers ``first`` up to, but not with, ``end``.

    ``statements`` are those of them that are sent: not the BEGIN and COMMIT of an ``explicit`` unit.
    """

    first: int
    end: int
    statements: tuple[Statement, ...]
    how: How = How.TOGETHER
    explicit: bool = False

    def after(self, done: int) -> Unit:
        """What is left of it after the file's first ``done`` statements."""
        if done <= self.first:
            return self
        return Unit(done, self.end, self.statements[done - self.first :], self.how)

    def rest(self, ran: int) -> tuple[Unit, ...]:
        """What is left after the first ``ran`` statements, the next of which must run outside."""
        if ran == len(self.statements):
            return ()
        number = self.first + ran
        alone = Unit(number, number + 1, self.statements[ran : ran + 1], How.OUTSIDE)
        return (alone, *((self.after(number + 1),) if number + 1 < self.end else ()))


def units(migration: Migration) -> tuple[Unit, ...]:
    """The file cut into what takes effect together: for most files a single unit.

    Raises :class:`MigrationError` for what cannot be run as a migration.
    """
    _refuse_foreign(migration)
    statements = migration.statements
    if not migration.transactional:
        return tuple(_pieces(migration))
    special = [statement for statement in statements if statement.head in _SPECIAL]
    if not any(map(steers, special)):
        if not any(map(alone, special)):
            return (Unit(0, len(statements), statements),)
        return tuple(_merged(tuple(_pieces(migration))))
    pieces = tuple(_pieces(migration))
    blocks = [piece for piece in pieces if piece.explicit]
    rest = [statement for piece in pieces if not piece.explicit for statement in piece.statements]
    if len(blocks) == 1 and blocks[0].how is How.TOGETHER and all(map(_is_setting, rest)):
        inside = tuple(statement for piece in pieces for statement in piece.statements)
        return (Unit(0, len(statements), inside, explicit=True),)
    return pieces


# -- BEGIN, COMMIT and their like -------------------------------------------------------------------------

_STEERING = frozenset({"begin", "start", "commit", "end", "rollback", "abort", "prepare"})


def steers(statement: Statement) -> bool:
    return _steering(statement) is not None


def _steering(statement: Statement) -> str | None:
    """``begin``, ``commit``, ``rollback`` or ``prepare`` of a transaction, with ``+`` if the next one begins at once."""
    if statement.head not in _STEERING:
        return None
    words = statement.words
    rest = words[2:] if words[1:2] in (("work",), ("transaction",)) else words[1:]
    match words[0]:
        case "begin":
            return "begin"
        case "start" | "prepare":
            return words[0].replace("start", "begin") if words[1:2] == ("transaction",) else None
    if rest[:1] in (("to",), ("prepared",)):
        return None
    ended = "rollback" if words[0] in ("rollback", "abort") else "commit"
    return ended + ("+" if rest == ("and", "chain") else "")


def _pieces(migration: Migration) -> Iterator[Unit]:
    """Each statement for itself, and the file's own transactions."""
    statements = migration.statements
    begun: int | None = None  # the first statement of the transaction that is open
    for number, statement in enumerate(statements):
        steering = _steering(statement)
        if steering is None:
            if begun is None:
                yield Unit(
                    number, number + 1, (statement,), How.OUTSIDE if alone(statement) else How.TOGETHER
                )
        elif steering == "begin":
            begun = number if begun is None else begun
        elif steering == "prepare" or (begun is None and steering.endswith("+")):
            raise MigrationError(
                f"{migration.file}:{statement.line}: {statement.words[0].upper()} does not fit here: take it out"
            )
        elif begun is None:  # Postgres warns, and does nothing
            yield Unit(number, number + 1, ())
        else:
            how = How.UNDONE if steering.startswith("rollback") else How.TOGETHER
            inside = tuple(s for s in statements[begun:number] if not steers(s))
            yield Unit(begun, number + 1, inside, how, explicit=True)
            begun = number + 1 if steering.endswith("+") else None
    if begun is not None:
        line = statements[min(begun, len(statements) - 1)].line
        raise MigrationError(
            f"{migration.file}:{line}: BEGIN without COMMIT, so that nothing after it would stay; "
            "end it with COMMIT, or take it out"
        )


def _merged(pieces: Sequence[Unit]) -> Iterator[Unit]:
    """Neighbours that can be in one transaction in one."""
    start = 0
    for number, piece in enumerate((*pieces, None)):
        if piece is not None and piece.how is How.TOGETHER:
            continue
        together = pieces[start:number]
        if together:
            yield Unit(
                start,
                together[-1].end,
                tuple(statement for unit in together for statement in unit.statements),
            )
        if piece is not None:
            yield piece
        start = number + 1


# -- what cannot be in a transaction ----------------------------------------------------------------------

_MAYBE_ALONE = frozenset(
    {"vacuum", "cluster", "reindex", "create", "drop", "alter", "commit", "rollback", "call", "do"}
)
_COMMITS = re.compile(
    r"(?:;|\b(?:begin|loop|then|else)) (?:commit|rollback)(?: (?:work|transaction))?(?: and (?:no )?chain)? ;"
)


_SPECIAL = _STEERING | _MAYBE_ALONE


def alone(statement: Statement) -> bool:
    """Whether Postgres refuses it within a transaction, as far as its text tells."""
    head = statement.head
    if head not in _MAYBE_ALONE:
        return False
    match statement.two:
        case ("vacuum" | "cluster" | "commit" | "rollback", *_) | ("alter", "system"):
            return True
        case ("create" | "drop", "database" | "tablespace"):
            return True
        case ("create" | "drop", "index" | "unique"):
            return "concurrently" in statement.words[2:4]
        case ("reindex", *_):
            return bool({"concurrently", "schema", "database", "system"} & set(statement.words))
        case ("do", *_):
            return "commit" in statement.text.lower() and _commits(statement)
        case ("alter", "table") if "concurrently" in statement.text.lower():
            return {"detach", "partition", "concurrently"} <= set(significant(statement.code).split())
        case _:
            return False


def _commits(statement: Statement) -> bool:
    body = re.search(r"\$(\w*)\$(.*)\$\1\$", statement.code, re.DOTALL)
    return bool(body and _COMMITS.search(" ; " + significant(body[2]) + " ;"))


def may_refuse(statement: Statement) -> bool:
    """Whether only running it tells that it cannot be in a transaction."""
    if statement.head in ("call", "do"):
        return True
    return statement.head in ("create", "alter", "drop") and statement.two[1:] == ("subscription",)


def may_go_on(migration: Migration, done: int) -> bool:
    """Whether a run can have stopped after so many statements: at an end of a unit, or where it met a refusal."""
    ends = {0, *(unit.end for unit in units(migration))}
    return done in ends or any(map(may_refuse, migration.statements[max(0, done - 1) : done + 1]))


# -- what no migration can contain -------------------------------------------------------------------------


def _refuse_foreign(migration: Migration) -> None:
    for statement in migration.statements:
        wrong = _foreign(statement)
        if wrong:
            raise MigrationError(f"{migration.file}:{statement.line}: {wrong}")


def _foreign(statement: Statement) -> str | None:
    if "\0" in statement.text:
        return "a NUL character, which Postgres takes nowhere (is the file UTF-16?); save it as UTF-8"
    for command in statement.commands if statement.lead else ():
        if not command.startswith(("restrict", "unrestrict")):
            return f"\\{command.split(' ')[0]} is a command of psql's, not SQL; take it out"
    if statement.head == "copy":
        return _foreign_copy(statement)
    return None


def _foreign_copy(statement: Statement) -> str | None:
    if statement.data is None:
        return None
    if not copied(statement).ended:
        return r"the rows of this COPY have no end: a line with \. alone"
    if re.search(r"\bbinary\b", significant(statement.code)):
        return "COPY in binary format cannot stand in a text file; write it as text or CSV"
    after = statement.text[statement.data :].partition("\n")[0]
    if significant(after):
        return "the rows of COPY begin in the line after it, and something stands before that"
    return None


@dataclass(frozen=True, slots=True)
class Copied:
    """The rows for ``COPY … FROM stdin``: ``text`` from ``offset`` of the statement on."""

    text: str
    offset: int
    ended: bool


def copied(statement: Statement) -> Copied:
    assert statement.data is not None
    begin = statement.text.find("\n", statement.data) + 1 or len(statement.text)
    ended = statement.text.endswith("\n\\.", statement.data)
    return Copied(statement.text[begin : -2 if ended else None], begin, ended)


# -- indexes and settings ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ConcurrentIndex:
    """What CREATE INDEX CONCURRENTLY makes; names as SQL writes them, ``None`` where Postgres finds one."""

    name: str | None
    table: str


def concurrent_index(statement: Statement) -> ConcurrentIndex | None:
    if statement.head != "create" or "concurrently" not in statement.words[:4]:
        return None
    match = _INDEX.match(significant(statement.code))
    return None if match is None else ConcurrentIndex(match["name"], match["table"].replace(" . ", "."))


def session_settings(statements: Sequence[Statement]) -> list[Statement]:
    """Those that set something for the rest of the session, to be said again by a run that resumes."""
    return [s for s in statements if s.code and _is_setting(s)]


def _is_setting(statement: Statement) -> bool:
    """True for a mere comment, too."""
    words = statement.words
    if statement.head in ("set", "reset"):
        return words[1:2] not in (("local",), ("transaction",), ("constraints",))
    if statement.head == "select":
        return "set_config" in words and significant(statement.code).endswith(", false )")
    return not statement.code
