"""For tests of migrations: a directory written in one line, what a database holds, a thing done on a notice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NO_TRANSACTION = "-- realtime-toolkit: no-transaction\n"


def write(directory: Path, **files: str) -> Path:
    """``write(path, a="select 1")`` makes ``1_a.sql`` or the next number; ``_7_a=…`` makes ``7_a.sql``."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        number = (
            name[1:].partition("_")[0] if name.startswith("_") else str(len(list(directory.iterdir())) + 1)
        )
        bare = name.rpartition("_")[2]
        (directory / f"{int(number):014}_{bare}.sql").write_text(text, encoding="utf-8")
    return directory


def rows(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


def run(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement.encode())


def recorded(dsn: str) -> list[tuple[Any, ...]]:
    """The history as the Supabase CLI would read it."""
    return rows(
        dsn, "select version, name, statements from supabase_migrations.schema_migrations order by version"
    )


def tables(dsn: str) -> set[str]:
    return {name for (name,) in rows(dsn, "select tablename from pg_tables where schemaname = 'public'")}


class Once:
    """A notice handler: keeps all lines, and does something at the first one that contains a text."""

    def __init__(self, text: str = "", action: Callable[[], object] | None = None) -> None:
        self.lines: list[str] = []
        self._text, self._action = text, action

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        if self._action and self._text in line:
            action, self._action = self._action, None
            action()

    def __contains__(self, text: str) -> bool:
        return any(text in line for line in self.lines)
